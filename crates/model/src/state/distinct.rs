//! How many different values there are, from 64-bit hashes that the caller makes.
//!
//! Up to 256 different hashes are kept and counted exactly. Past that they become HyperLogLog registers (Flajolet et al. 2007, 64-bit
//! hashes as in Heule et al. 2013) with 2^14 registers: standard error 0.81 %. Registers are a list while few are used and an
//! array afterwards. Which form a state has, and so its estimate and its bytes, depends only on the set of hashes, never on their
//! order or on how they were split and merged.
//!
//! Not here: hashing. All parts of one answer must use the same hash function.

mod estimate;
mod slots;

use self::estimate::estimate;
use self::slots::Slots;
use super::StateError;
use super::codec::Reader;

/// A set of hashes, exact while small.
#[derive(Clone, Debug)]
pub struct Distinct(Form);

#[derive(Clone, Debug)]
enum Form {
    /// The hashes.
    Exact(Slots<u64>),
    /// The used registers.
    Sparse(Slots<Register>),
    /// Every register's rank, 0 where unused.
    Dense(Box<[u8; REGISTERS]>),
}

/// What a set of distinct values holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DistinctParts<'a> {
    /// The hashes, ascending; at most 256.
    Exact(Vec<u64>),
    /// The used registers, ascending: number · 256 + rank.
    Sparse(Vec<u32>),
    /// The rank of every register, 0 where unused.
    Dense(&'a [u8; Distinct::REGISTERS]),
}

/// The state's name in errors.
const NAME: &str = "uniq";

/// A used register: its number (14 bits) above its rank (8 bits). Never 0, because ranks begin at 1.
type Register = u32;

/// Version of [`Distinct::encode`].
const VERSION: u8 = 1;
/// Up to this many values are counted exactly (API.md).
const EXACT_MAX: usize = 256;
/// log2 of the number of registers; 14 gives a standard error of 1.04 / √(2^14) = 0.81 %.
const PRECISION: u32 = 14;
const REGISTERS: usize = 1 << PRECISION;
/// The largest rank: the hash bits that are left after the register's number, plus one.
const RANK_MAX: u8 = (64 - PRECISION + 1) as u8;
/// Ranks from 0, unused, to the largest.
const RANKS: usize = RANK_MAX as usize + 1;
/// Up to this many used registers they are a hash table of at most 8 KB; past it the array of 16 KB.
const SPARSE_MAX: usize = 1_792;

impl Default for Distinct {
    fn default() -> Self {
        Distinct(Form::Exact(Slots::default()))
    }
}

impl Distinct {
    /// Registers of a set that has left the exact form.
    pub const REGISTERS: usize = REGISTERS;

    /// Takes a value's hash.
    #[inline]
    pub fn insert_hash(&mut self, hash: u64) {
        match &mut self.0 {
            Form::Exact(hashes) => {
                if hashes.insert(hash) && hashes.len() > EXACT_MAX {
                    self.leave_exact();
                }
            }
            Form::Sparse(_) => self.raise(register_of(hash)),
            Form::Dense(ranks) => raise_dense(ranks, register_of(hash)),
        }
    }

    /// Takes many hashes.
    pub fn insert_hashes(&mut self, hashes: &[u64]) {
        if let Form::Dense(ranks) = &mut self.0 {
            return hashes.iter().for_each(|hash| raise_dense(ranks, register_of(*hash)));
        }
        hashes.iter().for_each(|hash| self.insert_hash(*hash));
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            Form::Exact(hashes) => hashes.iter().for_each(|hash| self.insert_hash(hash)),
            Form::Sparse(registers) => {
                self.leave_exact();
                registers.iter().for_each(|register| self.raise(register));
            }
            Form::Dense(others) if self.is_empty() => self.0 = Form::Dense(others.clone()),
            Form::Dense(others) => {
                self.leave_exact();
                let ranks = self.make_dense();
                for (own, other) in ranks.iter_mut().zip(others.iter()) {
                    *own = (*own).max(*other);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Exact(hashes) if hashes.len() == 0)
    }

    /// Whether [`Self::estimate`] is exact (64-bit hashes of that few values do not collide in practice).
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Form::Exact(_))
    }

    /// How many different hashes were taken.
    pub fn estimate(&self) -> u64 {
        let mut ranks = [0u32; RANKS];
        match &self.0 {
            Form::Exact(hashes) => return hashes.len() as u64,
            Form::Sparse(registers) => {
                ranks[0] = (REGISTERS - registers.len()) as u32;
                registers.iter().for_each(|register| ranks[parts(register).1 as usize] += 1);
            }
            Form::Dense(registers) => ranks = count_ranks(registers),
        }
        // Registers exist only for more values than are counted exactly.
        (estimate(&ranks, PRECISION).round() as u64).max(EXACT_MAX as u64 + 1)
    }

    /// From hashes to registers; nothing to do for registers.
    fn leave_exact(&mut self) {
        let Form::Exact(hashes) = &mut self.0 else { return };
        let hashes = std::mem::take(hashes);
        self.0 = Form::Sparse(Slots::with_room(hashes.len()));
        hashes.iter().for_each(|hash| self.raise(register_of(hash)));
    }

    /// Raises a register to a rank. The form must not be exact.
    fn raise(&mut self, register: Register) {
        if let Form::Sparse(registers) = &mut self.0
            && (!registers.raise(register) || registers.len() <= SPARSE_MAX)
        {
            return;
        }
        raise_dense(self.make_dense(), register);
    }

    /// From the list of registers to the array. The form must not be exact.
    fn make_dense(&mut self) -> &mut [u8; REGISTERS] {
        if let Form::Sparse(registers) = &self.0 {
            let mut ranks = Box::new([0; REGISTERS]);
            for (number, rank) in registers.iter().map(parts) {
                ranks[number] = rank;
            }
            self.0 = Form::Dense(ranks);
        }
        match &mut self.0 {
            Form::Dense(ranks) => ranks,
            Form::Exact(_) | Form::Sparse(_) => unreachable!("callers leave the exact form first"),
        }
    }

    /// What it holds, to be stored in columns.
    pub fn parts(&self) -> DistinctParts<'_> {
        match &self.0 {
            Form::Exact(hashes) => DistinctParts::Exact(hashes.sorted()),
            Form::Sparse(registers) => DistinctParts::Sparse(registers.sorted()),
            Form::Dense(ranks) => DistinctParts::Dense(ranks),
        }
    }

    /// Adds a set held as used registers ([`DistinctParts::Sparse`]).
    pub fn merge_registers(&mut self, registers: &[u32]) -> Result<(), StateError> {
        let fits = |register: &Register| register >> 8 < REGISTERS as u32 && rank_fits(*register as u8);
        if registers.is_empty() || !registers.iter().all(fits) {
            return Err(StateError::Damaged { state: NAME, rule: "a register is out of range" });
        }
        self.leave_exact();
        registers.iter().for_each(|register| self.raise(*register));
        Ok(())
    }

    /// Adds a set held as the ranks of all registers ([`DistinctParts::Dense`]).
    pub fn merge_ranks(&mut self, ranks: &[u8; Self::REGISTERS]) -> Result<(), StateError> {
        // Without a branch, so that it takes many ranks at once.
        if ranks.iter().fold(0, |most, rank| most.max(*rank)) > RANK_MAX {
            return Err(StateError::Damaged { state: NAME, rule: "a register is out of range" });
        }
        if self.is_empty() {
            // Written whole: to take the greater of each would first read memory that nobody has touched.
            self.0 = Form::Dense(Box::new(*ranks));
            return Ok(());
        }
        self.leave_exact();
        let own = self.make_dense();
        own.iter_mut().zip(ranks).for_each(|(own, rank)| *own = (*own).max(*rank));
        Ok(())
    }

    /// Appends the canonical bytes: version, form, then
    /// - 0: up to 256 hashes (u64), ascending;
    /// - 1: up to 1,792 used registers (u32: number · 256 + rank), ascending;
    /// - 2: the ranks of all 16,384 registers, a byte each.
    ///
    /// Numbers are little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match &self.0 {
            Form::Exact(hashes) => {
                out.push(0);
                hashes.sorted().iter().for_each(|hash| out.extend(hash.to_le_bytes()));
            }
            Form::Sparse(registers) => {
                out.push(1);
                registers.sorted().iter().for_each(|register| out.extend(register.to_le_bytes()));
            }
            Form::Dense(ranks) => {
                out.push(2);
                out.extend_from_slice(&ranks[..]);
            }
        }
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(NAME, VERSION, bytes)?;
        let form = reader.u8()?;
        let body = reader.rest();
        match form {
            0 => {
                let hashes: Vec<u64> = numbers(&reader, body)?.map(u64::from_le_bytes).collect();
                reader.require(hashes.len() <= EXACT_MAX, "too many hashes")?;
                reader.require(hashes.is_sorted_by(|a, b| a < b), "hashes are out of order")?;
                let mut slots = Slots::default();
                hashes.iter().for_each(|hash| _ = slots.insert(*hash));
                Ok(Distinct(Form::Exact(slots)))
            }
            1 => {
                let registers: Vec<Register> = numbers(&reader, body)?.map(u32::from_le_bytes).collect();
                reader.require(
                    registers.len() <= SPARSE_MAX && !registers.is_empty(),
                    "the number of registers is wrong",
                )?;
                reader
                    .require(registers.is_sorted_by(|a, b| a >> 8 < b >> 8), "registers are out of order")?;
                let fits =
                    |register: &Register| register >> 8 < REGISTERS as u32 && rank_fits(*register as u8);
                reader.require(registers.iter().all(fits), "a register is out of range")?;
                let mut slots = Slots::default();
                registers.iter().for_each(|register| _ = slots.raise(*register));
                Ok(Distinct(Form::Sparse(slots)))
            }
            2 => {
                let ranks: Box<[u8; REGISTERS]> = Box::<[u8]>::from(body)
                    .try_into()
                    .map_err(|_| reader.damaged("the number of registers is wrong"))?;
                let used = ranks.iter().filter(|rank| **rank > 0).count();
                reader.require(used > SPARSE_MAX, "few registers in the form for many")?;
                reader.require(
                    ranks.iter().all(|rank| *rank == 0 || rank_fits(*rank)),
                    "a register is out of range",
                )?;
                Ok(Distinct(Form::Dense(ranks)))
            }
            _ => Err(reader.damaged("the form is unknown")),
        }
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let heap = match &self.0 {
            Form::Exact(hashes) => hashes.heap_bytes(),
            Form::Sparse(registers) => registers.heap_bytes(),
            Form::Dense(_) => REGISTERS,
        };
        size_of::<Self>() + heap
    }
}

impl PartialEq for Distinct {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Exact(own), Form::Exact(others)) => own.sorted() == others.sorted(),
            (Form::Sparse(own), Form::Sparse(others)) => own.sorted() == others.sorted(),
            (Form::Dense(own), Form::Dense(others)) => own == others,
            _ => false,
        }
    }
}

/// The top bits of a hash choose the register; the rank is the place of the first one bit in the rest, from 1.
#[inline]
fn register_of(hash: u64) -> Register {
    let number = (hash >> (64 - PRECISION)) as u32;
    // A guard bit behind the last bit of the hash ends the search.
    let rest = hash << PRECISION | 1 << (PRECISION - 1);
    number << 8 | (rest.leading_zeros() + 1)
}

/// Raises a register to a rank.
#[inline]
fn raise_dense(ranks: &mut [u8; REGISTERS], register: Register) {
    let (number, rank) = parts(register);
    ranks[number] = ranks[number].max(rank);
}

#[inline]
fn parts(register: Register) -> (usize, u8) {
    ((register >> 8) as usize % REGISTERS, register as u8)
}

/// How many registers have each rank. Neighbours count in separate tables, so that equal ranks in a row need not wait for each
/// other.
fn count_ranks(registers: &[u8; REGISTERS]) -> [u32; RANKS] {
    let mut tables = [[0u32; RANKS]; 4];
    for registers in registers.as_chunks::<4>().0 {
        for (table, rank) in tables.iter_mut().zip(registers) {
            table[*rank as usize] += 1;
        }
    }
    std::array::from_fn(|rank| tables.iter().map(|table| table[rank]).sum())
}

fn rank_fits(rank: u8) -> bool {
    (1..=RANK_MAX).contains(&rank)
}

fn numbers<'a, const N: usize>(
    reader: &Reader<'_>,
    body: &'a [u8],
) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>, StateError> {
    let (whole, rest) = body.as_chunks::<N>();
    reader.require(rest.is_empty(), "bytes follow the end")?;
    Ok(whole.iter().copied())
}
