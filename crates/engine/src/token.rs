//! Cursor tokens: fixed fields and a check value as hexadecimal digits. Opaque to clients; the check tells a damaged or
//! invented token (400) from one whose answer is gone (410).
//!
//! A token is no credential: it is only good together with a key for its project and with the question it came from,
//! both of which it carries as a hash.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Distinguishes cursor tokens from any other hexadecimal text, and this layout from later ones.
const SEED: u64 = 0x7469_6465_6375_7201;

/// `N` numbers as one token.
pub(crate) fn encode<const N: usize>(fields: [u64; N]) -> String {
    use std::fmt::Write as _;
    let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
    let check = xxh3_64_with_seed(&bytes, SEED);
    let mut out = String::with_capacity((N + 1) * 16);
    for field in fields.iter().chain([&check]) {
        write!(out, "{field:016x}").expect("writing to a String cannot fail");
    }
    out
}

/// The numbers of a token, or nothing for a text that is none of that length.
pub(crate) fn decode<const N: usize>(token: &str) -> Option<[u64; N]> {
    if token.len() != (N + 1) * 16 || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let field = |index: usize| u64::from_str_radix(&token[index * 16..(index + 1) * 16], 16).ok();
    let mut fields = [0u64; N];
    for (index, place) in fields.iter_mut().enumerate() {
        *place = field(index)?;
    }
    let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
    (field(N)? == xxh3_64_with_seed(&bytes, SEED)).then_some(fields)
}

/// The hash that binds a token to what it continues.
pub(crate) fn bind(parts: &[&str]) -> u64 {
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
        text.push('\0');
    }
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back_and_notices_any_change(fields: [u64; 4], place in 0usize..80, digit in 0u32..16) {
            let token = encode(fields);
            prop_assert_eq!(decode::<4>(&token), Some(fields));
            let changed = char::from_digit(digit, 16).expect("a digit below 16");
            let mut other: Vec<char> = token.chars().collect();
            prop_assume!(other[place] != changed);
            other[place] = changed;
            prop_assert_eq!(decode::<4>(&other.into_iter().collect::<String>()), None);
        }
    }

    #[test]
    fn garbage_is_no_token() {
        for text in ["", "abc", "é", &"z".repeat(80), &"0".repeat(80)] {
            assert_eq!(decode::<4>(text), None, "{text}");
        }
    }
}
