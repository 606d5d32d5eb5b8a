//! The footer of a sidecar's file: which bytes hold which column of which project and section. Encoding and decoding.
//!
//! Not here: reading the bytes it points at (`file`).

use tidewater_model::names::ProjectName;

use super::SliceInfo;

/// The first and last bytes of a file.
pub const MAGIC: &[u8; 8] = b"TIDEROLL";
/// Bytes before the first column: magic, format, zeros.
pub const HEADER_BYTES: usize = 16;
/// Bytes at the end: offset and checksum of the footer, magic.
pub const TRAILER_BYTES: usize = 24;

/// Where everything lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Names, ascending; slices refer to them by index.
    pub projects: Vec<ProjectName>,
    /// One per section.
    pub sections: Vec<FooterSection>,
}

/// One section's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterSection {
    /// JSON of its head, as it stands in the catalog.
    pub head: String,
    /// Its slices, by project.
    pub slices: Vec<Slice>,
}

/// One project's rows of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Index among the footer's projects.
    pub project: u32,
    /// Number of rows.
    pub rows: u64,
    /// First instant of the first bucket.
    pub min_us: i64,
    /// First instant of the last bucket.
    pub max_us: i64,
    /// Where its first column begins; the others follow.
    pub offset: u64,
    /// Length and checksum of each column: time, dimensions, measures.
    pub columns: Vec<(u32, u32)>,
}

impl Slice {
    /// Bytes of all columns.
    pub fn bytes(&self) -> u64 {
        self.columns.iter().map(|(length, _)| u64::from(*length)).sum()
    }

    /// What readers may know of it.
    pub fn info(&self) -> SliceInfo {
        SliceInfo { rows: self.rows, min_us: self.min_us, max_us: self.max_us, bytes: self.bytes() }
    }
}

impl Footer {
    /// A project's slice of a section.
    pub fn slice(&self, section: usize, project: &ProjectName) -> Option<&Slice> {
        let place = self.projects.binary_search(project).ok()? as u32;
        let slices = &self.sections.get(section)?.slices;
        let index = slices.binary_search_by_key(&place, |slice| slice.project).ok()?;
        Some(&slices[index])
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let slice = |slice: &Slice| size_of::<Slice>() + slice.columns.len() * size_of::<(u32, u32)>();
        let section = |section: &FooterSection| {
            section.head.len() + section.slices.iter().map(slice).sum::<usize>() + size_of::<FooterSection>()
        };
        // A name is an allocation of its own with two counts.
        let name = |name: &ProjectName| size_of::<ProjectName>() + name.as_str().len() + 16;
        self.sections.iter().map(section).sum::<usize>() + self.projects.iter().map(name).sum::<usize>()
    }

    /// The bytes in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u32(&mut out, self.projects.len());
        for project in &self.projects {
            put_text(&mut out, project.as_str());
        }
        put_u32(&mut out, self.sections.len());
        for section in &self.sections {
            put_text(&mut out, &section.head);
            put_u32(&mut out, section.slices.len());
            for slice in &section.slices {
                out.extend_from_slice(&slice.project.to_le_bytes());
                out.extend_from_slice(&slice.rows.to_le_bytes());
                out.extend_from_slice(&slice.min_us.to_le_bytes());
                out.extend_from_slice(&slice.max_us.to_le_bytes());
                out.extend_from_slice(&slice.offset.to_le_bytes());
                put_u32(&mut out, slice.columns.len());
                for (length, checksum) in &slice.columns {
                    out.extend_from_slice(&length.to_le_bytes());
                    out.extend_from_slice(&checksum.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads them; `columns_end` is where the footer begins. The error says what is wrong.
    pub fn decode(bytes: &[u8], columns_end: u64) -> Result<Self, &'static str> {
        let mut reader = Reader { bytes };
        let mut footer = Footer::default();
        for _ in 0..reader.u32()? {
            let name = ProjectName::new(reader.text()?).map_err(|_| "a project's name is not valid")?;
            footer.projects.push(name);
        }
        if !footer.projects.is_sorted_by(|a, b| a < b) {
            return Err("the projects are out of order");
        }
        for _ in 0..reader.u32()? {
            let head = reader.text()?.to_owned();
            let mut slices = Vec::new();
            for _ in 0..reader.u32()? {
                slices.push(reader.slice(footer.projects.len(), columns_end)?);
            }
            if !slices.is_sorted_by(|a, b| a.project < b.project) {
                return Err("the slices of a section are out of order");
            }
            footer.sections.push(FooterSection { head, slices });
        }
        if reader.bytes.is_empty() { Ok(footer) } else { Err("the footer goes on after its end") }
    }
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("counts and texts of a footer stay far below 4 Gi");
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u32(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("the footer is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or("the footer is cut short")?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")
    }

    fn slice(&mut self, projects: usize, columns_end: u64) -> Result<Slice, &'static str> {
        let (project, rows) = (self.u32()?, self.u64()?);
        let (min_us, max_us, offset) = (self.i64()?, self.i64()?, self.u64()?);
        let mut columns = Vec::new();
        for _ in 0..self.u32()? {
            columns.push((self.u32()?, self.u32()?));
        }
        let slice = Slice { project, rows, min_us, max_us, offset, columns };
        let end = offset.checked_add(slice.bytes());
        if project as usize >= projects {
            return Err("a slice names a project that is not listed");
        }
        if offset < HEADER_BYTES as u64 || end.is_none_or(|end| end > columns_end) {
            return Err("a column lies outside its part of the file");
        }
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let slice = |project, offset| Slice {
            project,
            rows: 3,
            min_us: -5,
            max_us: 60_000_000,
            offset,
            columns: vec![(10, 7), (0, 1), (20, 9)],
        };
        let section = |head: &str, slices| FooterSection { head: head.to_owned(), slices };
        Footer {
            projects: ["a", "b"].map(|name| ProjectName::new(name).expect("a valid name")).to_vec(),
            sections: vec![
                section("{}", vec![slice(0, 16), slice(1, 46)]),
                section("{\"x\":1}", vec![slice(1, 76)]),
            ],
        }
    }

    #[test]
    fn decoding_is_the_inverse_of_encoding() {
        let footer = footer();
        assert_eq!(Footer::decode(&footer.encode(), 106), Ok(footer.clone()));
        let b = ProjectName::new("b").expect("a valid name");
        assert_eq!(footer.slice(1, &b).map(|slice| slice.offset), Some(76));
        assert_eq!(footer.slice(1, &ProjectName::new("a").expect("a valid name")), None);
        assert_eq!(footer.slice(2, &b), None);
    }

    #[test]
    fn every_cut_and_every_place_outside_is_refused() {
        let bytes = footer().encode();
        for length in 0..bytes.len() {
            assert!(Footer::decode(&bytes[..length], 106).is_err(), "cut at {length}");
        }
        assert!(Footer::decode(&bytes, 105).is_err(), "a column would reach into the footer");
        assert!(Footer::decode(&[&bytes[..], &[0]].concat(), 106).is_err());
    }
}
