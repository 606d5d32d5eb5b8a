//! The engine's limits, with unit, default and reason. The server fills them from its configuration.

use std::path::PathBuf;
use std::time::Duration;

/// Everything that bounds what the engine holds or waits for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Folder of the store; spilled cursors lie there as files without a name.
    pub data_dir: PathBuf,
    /// Bytes of request bodies and their decompressed form that may be in memory at once, over all requests (48 MiB). Past it
    /// ingest answers "overloaded" at once: a queue would only add delay to a server that is full.
    pub ingest_bytes_max: u64,
    /// Decompressed bytes of one body (16 MiB).
    pub body_bytes_max: u64,
    /// Bodies up to this many bytes (16 KiB) are decoded where they arrive: handing them to another thread costs more than the
    /// ≈ 10 µs that decoding them takes.
    pub inline_body_bytes_max: u64,
    /// Bodies decoded at once on blocking threads (the number of cores): more would only add memory.
    pub decoders_max: usize,
    /// Questions computed at once (4): each uses all cores through the executor's own pool, so more only share them.
    pub queries_running_max: usize,
    /// Of these, heavy ones (2): the other places are for light questions only, so that these find one soon.
    pub heavy_running_max: usize,
    /// From which time of one core on reading for a question is heavy (50 ms): what dashboards ask of roll-ups takes less, a million raw rows take
    /// about as much.
    pub heavy_from: Duration,
    /// Questions waiting for their turn (256); the next one is refused. One project gets at most as much of it as is left for others.
    pub queries_waiting_max: usize,
    /// Longest wait of a question for its turn (5 s): whoever asked has gone by then, or does better to ask again.
    pub wait_max: Duration,
    /// Longest time a question may wait and run (30 s).
    pub query_timeout: Duration,
    /// Longest wait for `min_version` (1 s, API.md).
    pub version_wait: Duration,
    /// Bytes of answers kept for those who ask the same again (12 MiB; the server keeps as much of them in written form).
    pub answers_bytes_max: u64,
    /// How old a shared answer may be where the question does not say (100 ms): a wall of screens costs one computation each
    /// time, and nobody sees it.
    pub tick: Duration,
    /// How long a question may wait for others on the same rows while one is being computed (10 ms): a page's questions arrive
    /// within that, and nobody notices it beside a computation that takes longer.
    pub gather: Duration,
    /// A question with less to read than this does not wait (2 ms): sharing would save little, and the others may take much longer.
    pub shared_reading_min: Duration,
    /// Bytes of pinned answers held in memory for cursors (24 MiB); older ones are spilled to disk.
    pub cursor_bytes_max: u64,
    /// Bytes of pinned answers spilled to disk (1 GiB); past it the oldest go before their time.
    pub cursor_spill_bytes_max: u64,
    /// How long a pinned answer is kept after its last page (at least 60 s, API.md).
    pub cursor_ttl: Duration,
    /// Bytes of refused rows kept for `GET /ingest/rejects`, per project (256 KiB).
    pub rejects_bytes_max: usize,
    /// Whether refused rows are kept without their values.
    pub rejects_redacted: bool,
    /// Shapes of questions that are recorded for warming and the advisor, over all projects (1,024: about 2 MB); 0 records none.
    pub questions_max: usize,
    /// How often the recorded questions are stored (30 s): what a crash may lose of them.
    pub questions_save_interval: Duration,
    /// How often what projects have stored today is made durable (10 s): what a crash may lose of it.
    pub usage_save_interval: Duration,
    /// Recorded questions that are computed once after a start (32).
    pub warm_questions_max: usize,
}

impl EngineConfig {
    /// The defaults, for a data folder.
    pub fn new(data_dir: PathBuf) -> Self {
        EngineConfig {
            data_dir,
            ingest_bytes_max: 48 << 20,
            body_bytes_max: 16 << 20,
            inline_body_bytes_max: 16 << 10,
            decoders_max: std::thread::available_parallelism().map_or(2, usize::from),
            queries_running_max: 4,
            heavy_running_max: 2,
            heavy_from: Duration::from_millis(50),
            queries_waiting_max: 256,
            wait_max: Duration::from_secs(5),
            query_timeout: Duration::from_secs(30),
            version_wait: Duration::from_secs(1),
            answers_bytes_max: 12 << 20,
            tick: Duration::from_millis(100),
            gather: Duration::from_millis(10),
            shared_reading_min: Duration::from_millis(2),
            cursor_bytes_max: 24 << 20,
            cursor_spill_bytes_max: 1 << 30,
            cursor_ttl: Duration::from_secs(90),
            rejects_bytes_max: 256 << 10,
            rejects_redacted: false,
            questions_max: 1_024,
            questions_save_interval: Duration::from_secs(30),
            usage_save_interval: Duration::from_secs(10),
            warm_questions_max: 32,
        }
    }
}
