//! Names that are the server's own: the dataset in which it keeps records of its work, and the project these belong to.
//!
//! Nobody else can write there, listings leave them out. Not here: what is recorded (`server::records`), who may read it
//! (`server::auth`).

/// The dataset with records of the server's own work.
pub const OWN_DATASET: &str = "_tidewater";
/// The project of those records.
pub const OWN_PROJECT: &str = "_system";

/// Whether a dataset of this name is the server's own.
pub fn is_own_dataset(name: &str) -> bool {
    name == OWN_DATASET
}

/// Whether a project of this name is the server's own.
pub fn is_own_project(name: &str) -> bool {
    name == OWN_PROJECT
}
