//! The one error of this crate. `server::problem` maps it to HTTP.

use tidewater_model::input_error::InputError;
use tidewater_query::ExecuteError;
use tidewater_store::StoreError;

/// Result with [`EngineError`].
pub type EngineResult<T> = Result<T, EngineError>;

/// Why the engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A definition, filter or question is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// There is no such dataset.
    #[error("unknown dataset '{name}'{}", suggestion(.nearest.as_deref()))]
    UnknownDataset {
        /// As asked, shortened.
        name: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// A request body does not read as a whole.
    #[error(transparent)]
    Decode(#[from] tidewater_decode::DecodeError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The computation refused, failed or was stopped.
    #[error(transparent)]
    Query(#[from] ExecuteError),
    /// A budget or queue is full; the caller may come back.
    #[error("the server is full: {what}")]
    Overloaded {
        /// Which budget.
        what: &'static str,
        /// When to come back, in seconds.
        retry_after_s: u64,
    },
    /// `min_version` was not reached in time.
    #[error("version {version} is not reached yet")]
    VersionNotReached {
        /// As asked.
        version: String,
    },
    /// A version that is none, or one of another store.
    #[error("'{version}' is not a version of this store; use one from a reply of this server")]
    InvalidVersion {
        /// As asked, shortened.
        version: String,
        /// The member that held it.
        field: &'static str,
    },
    /// A cursor of another question or project, or none at all.
    #[error("the cursor does not belong to this question; send the question it came with, without changes")]
    InvalidCursor,
    /// The pinned answer behind a cursor is gone.
    #[error("the cursor is too old; ask again without it")]
    CursorExpired,
    /// No such key.
    #[error("there is no such key")]
    UnknownKey,
    /// No such job.
    #[error("there is no such job")]
    UnknownJob,
    /// No such project.
    #[error("there is no such project")]
    UnknownProject,
    /// A project that is to be created is there.
    #[error("there is a project '{name}' already")]
    ProjectExists {
        /// Which.
        name: String,
    },
    /// A project that takes no more rows.
    #[error("the project '{name}' is being deleted; it can be used again when its job is done")]
    ProjectDeleting {
        /// Which.
        name: String,
    },
    /// No such running question.
    #[error("there is no such running query")]
    UnknownQuery,
    /// A bounded set is full.
    #[error("there are {max} {what} already, which is the limit")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// A record in the catalog does not read.
    #[error("the {space} record '{key}' does not read")]
    Record {
        /// The store's space.
        space: &'static str,
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A stored API key has a hash or a project that is none.
    #[error("the record of API key '{id}' is damaged")]
    KeyRecord {
        /// Which key.
        id: String,
    },
    /// The system gives no random numbers.
    #[error("no random numbers from the system")]
    Random(#[source] getrandom::Error),
    /// A file of spilled answers failed.
    #[error("cannot {operation} the file of spilled answers")]
    Spill {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The computation that several callers waited for failed.
    #[error(transparent)]
    Shared(std::sync::Arc<EngineError>),
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A thread that worked on the request panicked; the panic itself is in the log.
    #[error("the request failed inside the server")]
    Panicked,
}

impl EngineError {
    /// Whether it says that the server is full: later the same question may be answered.
    pub fn is_overload(&self) -> bool {
        match self {
            EngineError::Overloaded { .. } => true,
            EngineError::Shared(error) => error.is_overload(),
            _ => false,
        }
    }

    /// Whether it says that a question is not as light as it was taken for.
    pub(crate) fn is_costly(&self) -> bool {
        match self {
            EngineError::Query(ExecuteError::Costly { .. }) => true,
            EngineError::Shared(error) => error.is_costly(),
            _ => false,
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}
