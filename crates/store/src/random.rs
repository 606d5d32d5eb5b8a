//! Random numbers for identities and hash seeds.

/// 128 random bits from the operating system.
///
/// # Panics
/// When the system has no source of randomness; nothing that needs identities can run there.
pub fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    u128::from_le_bytes(bytes)
}

/// 64 random bits; see [`random_u128`].
pub fn random_u64() -> u64 {
    random_u128() as u64
}
