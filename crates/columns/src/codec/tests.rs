//! Round trips and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::testing::{batch, table};

fn encoded(batch: &RowBatch) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    encode(batch, &mut bytes);
    bytes.split_off(6)
}

proptest! {
    #[test]
    fn decode_after_encode_is_the_same(batch in batch(200)) {
        let back = decode(&encoded(&batch)).expect("what was written can be read");
        prop_assert_eq!(table(&batch), table(&back));
        for (before, after) in batch.columns().iter().zip(back.columns()) {
            prop_assert_eq!(before.as_ref().map(|array| array.data_type()), after.as_ref().map(|array| array.data_type()));
        }
    }

    #[test]
    fn encode_after_decode_is_the_same(batch in batch(50)) {
        let bytes = encoded(&batch);
        prop_assert_eq!(encoded(&decode(&bytes).expect("what was written can be read")), bytes);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), known in any::<bool>()) {
        if let (true, [version, compression, ..]) = (known, bytes.as_mut_slice()) {
            (*version, *compression) = (1, *compression % 2);
        }
        let _ = decode(&bytes);
    }

    /// Damage that keeps most of the structure reaches deeper than noise does.
    #[test]
    fn damaged_bytes_do_not_panic(
        batch in batch(20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&batch);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&bytes);
        let _ = decode(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn one_row_is_small() {
    use crate::testing::{Cell, KINDS, build};
    use tidewater_model::schema::ColumnType;

    let cells = |kind| match kind {
        ColumnType::Time => Cell::Int(1_700_000_000_000_000),
        ColumnType::Int => Cell::Int(5),
        ColumnType::String => Cell::Text("gpt-4".to_owned()),
        _ => Cell::Null,
    };
    let columns =
        KINDS.iter().map(|kind| (cells(*kind) != Cell::Null).then(|| build(*kind, false, &[cells(*kind)])));
    let bytes = encoded(&RowBatch::new(columns.collect()));
    assert!(bytes.len() < 60, "{} bytes", bytes.len());
}

#[test]
fn compression_is_used_where_it_pays() {
    use crate::testing::{Cell, build};
    use tidewater_model::schema::ColumnType;

    let times: Vec<Cell> = (0..2_000).map(|_| Cell::Int(7)).collect();
    let texts: Vec<Cell> =
        (0..2_000).map(|row| Cell::Text(format!("a repeating text {}", row % 7))).collect();
    let batch = RowBatch::new(vec![
        Some(build(ColumnType::Time, false, &times)),
        Some(build(ColumnType::String, false, &texts)),
    ]);
    let bytes = encoded(&batch);
    assert_eq!(bytes[1], LZ4);
    assert!(bytes.len() < 6_000, "{} bytes", bytes.len());
    assert_eq!(decode(&bytes).expect("it can be read").rows(), 2_000);
}

#[test]
fn impossible_sizes_are_refused() {
    for bytes in [
        &[][..],
        &[1],
        &[2, 0, 0, 0],
        &[1, 2, 0],
        &[1, 0, 0, 0],
        // Four thousand million rows in ten bytes.
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 1, 0],
        // A body said to be 1 GiB long.
        &[1, 1, 0, 0, 0, 0x40, 0x00, 0x00],
        // A varint that never ends.
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(decode(bytes).is_err(), "{bytes:?}");
    }
}
