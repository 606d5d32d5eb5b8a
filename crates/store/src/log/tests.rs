#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;

use super::*;
use crate::disk::{Disk, FakeDisk};
use crate::error::StoreError;
use crate::paths;
use crate::version::Lsn;

const DATA: &str = "/data";

fn rows_record() -> impl Strategy<Value = RowsRecord<'static>> {
    let token = proptest::option::of((any::<u128>(), any::<u128>()));
    let head = (any::<u32>(), "[a-z0-9_-]{1,64}", any::<i64>(), token, any::<u32>(), any::<u32>());
    let lists =
        (proptest::collection::vec(any::<u32>(), 0..20), proptest::collection::vec(any::<u8>(), 0..100));
    (head, lists, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
        |(head, (dropped, extra), payload)| {
            let (dataset, project, accepted_us, token, accepted, duplicates) = head;
            let token = token.map(|(token_hash, body_hash)| Token { token_hash, body_hash });
            let project = ProjectName::new(&project).unwrap();
            let head =
                RowsHead { dataset: DatasetId(dataset), project, accepted_us, token, accepted, duplicates };
            RowsRecord { head, dropped, extra, payload: Box::leak(payload.into_boxed_slice()) }
        },
    )
}

proptest! {
    #[test]
    fn a_rows_record_reads_back(record in rows_record()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(Record::Rows(record)));
    }

    #[test]
    fn a_delete_record_reads_back(from_us: i64, to_us: i64, filter: String) {
        let project = ProjectName::new("p").unwrap();
        let filter = Arc::from(filter.as_str());
        let record = DeleteRecord { dataset: DatasetId(7), project, accepted_us: 5, from_us, to_us, filter };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(Record::Delete(record)));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>, kind in 0..3_u8) {
        let _ = Record::decode(&bytes);
        let _ = Record::decode(&[&[kind, kind & 1], bytes.as_slice()].concat());
    }

    #[test]
    fn a_cut_record_is_refused(record in rows_record(), cut in 1..50_usize) {
        let mut bytes = Vec::new();
        RowsRecord { payload: &[], ..record }.encode(&mut bytes);
        let cut = bytes.len().saturating_sub(cut);
        prop_assert!(Record::decode(&bytes[..cut]).is_err());
    }
}

/// Files of two records each, every record durable before the next is written.
fn write_log(records: i64) -> FakeDisk {
    let disk = FakeDisk::new();
    disk.create_dir_all(&paths::log_dir(Path::new(DATA))).unwrap();
    let mut open: Option<(FileHeader, LogFile)> = None;
    for lsn in 1..=records {
        if lsn % 2 == 1 {
            let header = FileHeader::new(Lsn(lsn));
            open = Some((header, LogFile::create(&disk, Path::new(DATA), &header, 4_096).unwrap()));
        }
        let (header, file) = open.as_mut().unwrap();
        let mut frames = Vec::new();
        FrameWriter { file_id: header.file_id, durable: Lsn(lsn - 1), out: &mut frames }
            .frame(Lsn(lsn), |out| out.extend_from_slice(format!("record {lsn}").as_bytes()));
        file.append(&frames).unwrap();
    }
    disk
}

fn read(disk: &FakeDisk, flushed: i64) -> Result<(Vec<i64>, LogCheck), StoreError> {
    let mut lsns = Vec::new();
    let check = LogReader::new(disk, Path::new(DATA), Lsn(flushed)).read(|lsn, _, _, content| {
        assert_eq!(content, format!("record {}", lsn.0).as_bytes());
        lsns.push(lsn.0);
        Ok(())
    })?;
    Ok((lsns, check))
}

#[test]
fn records_read_back_from_the_first_that_is_not_flushed() {
    for (flushed, expected) in [(0, 1..6), (2, 3..6), (3, 4..6), (5, 6..6)] {
        let (lsns, _) = read(&write_log(5), flushed).unwrap();
        assert_eq!(lsns, expected.collect::<Vec<_>>(), "flushed {flushed}");
    }
}

#[test]
fn damage_is_told_from_a_torn_tail() {
    /// Where the second frame of a file begins: frames here are 24 + 8 bytes.
    const SECOND: u64 = HEADER_BYTES + 32;
    // File, byte, what is read: a count of records, or the damaged file's first record.
    let cases: [(i64, u64, Result<usize, i64>); 9] = [
        (1, HEADER_BYTES, Err(1)),     // the first of a file, others after it
        (1, SECOND + 30, Err(1)),      // the last of a file, a file after it
        (3, HEADER_BYTES + 8, Err(3)), // an LSN
        (5, HEADER_BYTES + 30, Ok(4)), // the very last record: as if it had been torn
        (5, SECOND, Ok(5)),            // reserved space
        (1, 20, Ok(5)),                // one copy of a header
        (5, 600, Ok(5)),               // the other copy
        (3, SECOND + 5, Err(3)),       // a checksum
        (5, HEADER_BYTES + 20, Ok(4)), // a durable LSN
    ];
    for (file, offset, expected) in cases {
        let disk = write_log(5);
        disk.damage(&paths::log_path(Path::new(DATA), Lsn(file)), offset);
        let found = match read(&disk, 0) {
            Ok((lsns, _)) => Ok(lsns.len()),
            Err(StoreError::Damaged { path, .. }) => Err(paths::log_first_lsn(&path).unwrap().0),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected, "file {file}, byte {offset}");
    }
}

#[test]
fn a_missing_file_is_damage_unless_it_is_flushed() {
    for (removed, flushed, fine) in [(1, 0, false), (3, 0, false), (1, 2, true), (3, 4, true), (3, 2, false)]
    {
        let disk = write_log(5);
        disk.remove(&paths::log_path(Path::new(DATA), Lsn(removed))).unwrap();
        let outcome = read(&disk, flushed);
        assert_eq!(outcome.is_ok(), fine, "file {removed}, flushed {flushed}: {outcome:?}");
    }
}

#[test]
fn a_header_that_is_gone_is_damage_only_where_records_are() {
    let disk = write_log(2);
    let path = paths::log_path(Path::new(DATA), Lsn(1));
    (0..2).for_each(|copy| disk.damage(&path, copy * 512));
    assert!(matches!(read(&disk, 0), Err(StoreError::Damaged { offset: 0, .. })));
    let disk = write_log(2);
    disk.create(&paths::log_path(Path::new(DATA), Lsn(3))).unwrap().set_len(4_096).unwrap();
    let (lsns, check) = read(&disk, 0).unwrap();
    assert_eq!((lsns.len(), check.unborn.len()), (2, 1));
}
