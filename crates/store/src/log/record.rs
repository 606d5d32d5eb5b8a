//! What one log record says, and its bytes. All numbers are little-endian.

use std::sync::Arc;

use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;

const KIND_ROWS: u8 = 1;
const KIND_DELETE: u8 = 2;
const FLAG_TOKEN: u8 = 1;

/// An idempotency token as the store sees it: hashes only, so that a row of the token table has one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Hash of the token's text; the store scopes it to project and dataset.
    pub token_hash: u128,
    /// Hash of the decompressed body.
    pub body_hash: u128,
}

/// A record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Rows of one request.
    Rows(RowsRecord<'a>),
    /// A delete.
    Delete(DeleteRecord),
}

/// What a rows record says beside its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsHead {
    /// Whose dataset.
    pub dataset: DatasetId,
    /// Whose rows.
    pub project: ProjectName,
    /// When the rows came, micro-seconds since the epoch.
    pub accepted_us: i64,
    /// The request's token, if it had one; scoped.
    pub token: Option<Token>,
    /// Rows that became visible.
    pub accepted: u32,
    /// Rows dropped as duplicates.
    pub duplicates: u32,
}

/// Rows of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsRecord<'a> {
    /// All but the rows.
    pub head: RowsHead,
    /// Positions in the payload of the rows that were duplicates, ascending. Empty when no row was accepted: then there is no payload either.
    pub dropped: Vec<u32>,
    /// Opaque part of the reply, remembered with the token.
    pub extra: Vec<u8>,
    /// The rows in the form of `columns::codec`.
    pub payload: &'a [u8],
}

/// A delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecord {
    /// Whose dataset.
    pub dataset: DatasetId,
    /// Whose rows.
    pub project: ProjectName,
    /// When it came, micro-seconds since the epoch.
    pub accepted_us: i64,
    /// First instant.
    pub from_us: i64,
    /// First instant after the range.
    pub to_us: i64,
    /// The filter's JSON form.
    pub filter: Arc<str>,
}

impl<'a> Record<'a> {
    /// Reads a record's bytes; an error says what is wrong.
    pub fn decode(content: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let mut reader = Reader(content);
        match reader.u8()? {
            KIND_ROWS => decode_rows(reader).map(Record::Rows),
            KIND_DELETE => decode_delete(reader).map(Record::Delete),
            _ => Err("an unknown kind of record"),
        }
    }
}

impl RowsRecord<'_> {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let RowsHead { dataset, project, accepted_us, token, accepted, duplicates } = &self.head;
        out.push(KIND_ROWS);
        out.push(if token.is_some() { FLAG_TOKEN } else { 0 });
        put_origin(out, *dataset, project, *accepted_us);
        if let Some(token) = token {
            out.extend_from_slice(&token.token_hash.to_le_bytes());
            out.extend_from_slice(&token.body_hash.to_le_bytes());
        }
        out.extend_from_slice(&accepted.to_le_bytes());
        out.extend_from_slice(&duplicates.to_le_bytes());
        put_len(out, self.dropped.len());
        self.dropped.iter().for_each(|position| out.extend_from_slice(&position.to_le_bytes()));
        put_len(out, self.extra.len());
        out.extend_from_slice(&self.extra);
        out.extend_from_slice(self.payload);
    }
}

impl DeleteRecord {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(KIND_DELETE);
        out.push(0);
        put_origin(out, self.dataset, &self.project, self.accepted_us);
        out.extend_from_slice(&self.from_us.to_le_bytes());
        out.extend_from_slice(&self.to_us.to_le_bytes());
        out.extend_from_slice(self.filter.as_bytes());
    }
}

fn put_origin(out: &mut Vec<u8>, dataset: DatasetId, project: &ProjectName, accepted_us: i64) {
    out.extend_from_slice(&dataset.0.to_le_bytes());
    out.extend_from_slice(&accepted_us.to_le_bytes());
    // A project's name has at most 64 bytes.
    out.push(project.as_str().len() as u8);
    out.extend_from_slice(project.as_str().as_bytes());
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("a request's lists are far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
}

fn decode_rows(mut reader: Reader<'_>) -> Result<RowsRecord<'_>, &'static str> {
    let flags = reader.u8()?;
    if flags & !FLAG_TOKEN != 0 {
        return Err("unknown flags");
    }
    let (dataset, accepted_us, project) = reader.origin()?;
    let token = match flags & FLAG_TOKEN {
        0 => None,
        _ => Some(Token { token_hash: reader.u128()?, body_hash: reader.u128()? }),
    };
    let accepted = reader.u32()?;
    let duplicates = reader.u32()?;
    let count = reader.u32()? as usize;
    let positions = reader.bytes(count.checked_mul(4).ok_or("a list too long")?)?;
    let dropped = positions.chunks_exact(4).map(|p| u32::from_le_bytes([p[0], p[1], p[2], p[3]])).collect();
    let extra_len = reader.u32()? as usize;
    let extra = reader.bytes(extra_len)?.to_vec();
    let head = RowsHead { dataset, project, accepted_us, token, accepted, duplicates };
    Ok(RowsRecord { head, dropped, extra, payload: reader.0 })
}

fn decode_delete(mut reader: Reader<'_>) -> Result<DeleteRecord, &'static str> {
    if reader.u8()? != 0 {
        return Err("unknown flags");
    }
    let (dataset, accepted_us, project) = reader.origin()?;
    let from_us = reader.i64()?;
    let to_us = reader.i64()?;
    let filter = std::str::from_utf8(reader.0).map_err(|_| "a filter that is not UTF-8")?;
    Ok(DeleteRecord { dataset, project, accepted_us, from_us, to_us, filter: Arc::from(filter) })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a record that ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("a record that ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        self.array().map(i64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, &'static str> {
        self.array().map(u128::from_le_bytes)
    }

    fn origin(&mut self) -> Result<(DatasetId, i64, ProjectName), &'static str> {
        let dataset = DatasetId(self.u32()?);
        let accepted_us = self.i64()?;
        let len = usize::from(self.u8()?);
        let name = std::str::from_utf8(self.bytes(len)?).map_err(|_| "a project that is not UTF-8")?;
        let project = ProjectName::new(name).map_err(|_| "a project name that is none")?;
        Ok((dataset, accepted_us, project))
    }
}
