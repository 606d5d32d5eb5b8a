//! W3C Trace Context (level 1): who called whom, across services.
//!
//! Not here: what is exported of it (`otlp`).

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use axum::http::{HeaderName, HeaderValue};

/// The header, in and out.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `00-`, a trace id of 32 digits, a span id of 16, two of flags, and dashes between them.
const LENGTH: usize = 55;

/// The flag that says the caller records this trace.
const SAMPLED: u8 = 1;

/// The trace a request belongs to, and its own span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The whole trace; never 0.
    pub trace_id: u128,
    /// The caller's span; `None` where the trace begins here.
    pub parent_id: Option<u64>,
    /// This request's span; never 0.
    pub span_id: u64,
    /// The caller's flags; 0 where the trace begins here.
    pub flags: u8,
}

impl TraceContext {
    /// The caller's trace, or a new one where it sent none that can be read: a bad one must not break the request.
    pub fn of(traceparent: Option<&HeaderValue>) -> Self {
        let parent = traceparent.and_then(|value| parse(value.as_bytes()));
        let span_id = random_id();
        match parent {
            Some((trace_id, parent_id, flags)) => {
                TraceContext { trace_id, parent_id: Some(parent_id), span_id, flags }
            }
            None => {
                let trace_id = u128::from(random_id()) << 64 | u128::from(random_id());
                TraceContext { trace_id, parent_id: None, span_id, flags: 0 }
            }
        }
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id as tools show it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The header's value with this request's span.
    pub fn header(&self) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        write_hex(&[0], &mut text[..2]);
        write_hex(&self.trace_id.to_be_bytes(), &mut text[3..35]);
        write_hex(&self.span_id.to_be_bytes(), &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..]);
        HeaderValue::from_bytes(&text).expect("digits and dashes make a header")
    }
}

/// Trace id, span id and flags. A later version may have more behind them, which is ignored as the recommendation asks.
fn parse(value: &[u8]) -> Option<(u128, u64, u8)> {
    let (head, tail) = value.split_at_checked(LENGTH)?;
    let dashes = [2, 35, 52].iter().all(|place| head[*place] == b'-');
    let version = u8::try_from(hex(&head[..2])?).ok()?;
    let is_known = match version {
        0 => tail.is_empty(),
        u8::MAX => false,
        _ => tail.first().is_none_or(|byte| *byte == b'-'),
    };
    if !dashes || !is_known {
        return None;
    }
    let trace_id = hex(&head[3..35])?;
    let parent_id = u64::try_from(hex(&head[36..52])?).ok()?;
    let flags = u8::try_from(hex(&head[53..])?).ok()?;
    (trace_id != 0 && parent_id != 0).then_some((trace_id, parent_id, flags))
}

/// At most 32 digits; the recommendation allows small letters only.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The two digits of every byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Writes bytes as hexadecimal digits, two for each.
pub(super) fn write_hex(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.as_chunks_mut::<2>().0) {
        *pair = HEX_PAIRS[usize::from(*byte)];
    }
}

/// A number that is not 0 and that nobody else has: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014) from a random start per thread. Ids need to be distinct, not secret, and a system call per request is dear.
pub fn random_id() -> u64 {
    thread_local! {
        // The standard library's hasher is seeded by the system, and anew for every thread.
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> TraceContext {
        TraceContext::of(Some(&HeaderValue::from_str(value).expect("a value")))
    }

    #[test]
    fn a_callers_trace_goes_on() {
        let trace = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(trace.parent_id, Some(0xb7ad_6b71_6920_3331));
        assert!(trace.flags == 1 && Some(trace.span_id) != trace.parent_id);
        let sent = trace.header();
        let expected = format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", trace.span_id);
        assert_eq!(sent.to_str().expect("text"), expected);
        // A later version may say more.
        let later = of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more");
        assert_eq!((later.trace_id, later.flags), (trace.trace_id, 0));
    }

    #[test]
    fn what_does_not_read_begins_a_trace() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        ] {
            let trace = of(bad);
            assert_eq!((trace.parent_id, trace.flags), (None, 0), "{bad}");
            assert_ne!(trace.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, "{bad}");
        }
    }

    #[test]
    fn ids_are_distinct() {
        let ids: std::collections::HashSet<u64> = (0..1_000).map(|_| random_id()).collect();
        assert_eq!((ids.len(), ids.contains(&0)), (1_000, false));
    }
}
