//! How much one caller, one project and one address may ask: who is let through, who is told to come back and when.
//!
//! ```text
//! guard (address) ─► auth (role, endpoint class) ─► handler (comparison, rows and bytes, a project's day)
//! ```
//!
//! All buckets of one caller stand together and are found with one look into a sharded map, which forgets who was not seen for
//! longest: no number of keys or addresses makes it grow. Replies say where the caller stands in the fields of
//! draft-ietf-httpapi-ratelimit-headers-10. Not here: arithmetic (`bucket`), what a project has stored today (`engine::usage`),
//! whether the server itself is full (`engine::admission`).

mod address;
mod bucket;
mod guard;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tidewater_engine::{AnswerCache, Role};

use crate::config::LimitsConfig;
use crate::metrics::{Families, Kind};
use crate::problem::Problem;

pub use address::Proxies;
use bucket::{Bucket, Empty, Rate, Standing};
pub use guard::Guard;

/// Least number of callers that are counted at once, whatever the configuration says: with fewer the map could not keep one.
const TRACKED_MIN: u64 = 64;
/// Bytes that one caller or address is taken to need in the map.
const TRACKED_BYTES: u64 = 128;

const DAY_S: u64 = 86_400;
/// The longest field that says where a caller stands: the longest name and two numbers of 20 digits have room in it.
const STANDING_BYTES_MAX: usize = 64;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests of one caller, by role.
    Requests,
    /// Searches of one caller.
    Search,
    /// Exports of one caller.
    Export,
    /// Questions of one caller that compare two ranges.
    Comparison,
    /// Rows that one key sends.
    IngestRows,
    /// Bytes of rows that one key sends.
    IngestBytes,
    /// Rows that one project stores in a day.
    ProjectRows,
    /// Bytes of rows that one project stores in a day.
    ProjectBytes,
    /// Requests from one address.
    Address,
}

impl Limit {
    const ALL: [Limit; 9] = [
        Limit::Requests,
        Limit::Search,
        Limit::Export,
        Limit::Comparison,
        Limit::IngestRows,
        Limit::IngestBytes,
        Limit::ProjectRows,
        Limit::ProjectBytes,
        Limit::Address,
    ];

    /// Its name in replies and metrics.
    fn name(self) -> &'static str {
        match self {
            Limit::Requests => "requests",
            Limit::Search => "search",
            Limit::Export => "export",
            Limit::Comparison => "comparison",
            Limit::IngestRows => "ingest_rows",
            Limit::IngestBytes => "ingest_bytes",
            Limit::ProjectRows => "project_rows",
            Limit::ProjectBytes => "project_bytes",
            Limit::Address => "address",
        }
    }

    /// What it counts, for people.
    fn unit(self) -> &'static str {
        match self {
            Limit::Requests => "requests of one caller",
            Limit::Search => "searches of one caller",
            Limit::Export => "exports of one caller",
            Limit::Comparison => "computed questions with 'compare' of one caller",
            Limit::IngestRows => "rows sent with one key",
            Limit::IngestBytes => "bytes of rows sent with one key",
            Limit::ProjectRows => "rows stored for one project",
            Limit::ProjectBytes => "bytes of rows stored for one project",
            Limit::Address => "requests from one address",
        }
    }

    /// The class of a route by its path template: one that searches, exports or compares has a segment that says so.
    fn of_route(path: &str) -> Option<Self> {
        path.split('/').find_map(|segment| match segment {
            "search" => Some(Limit::Search),
            "export" | "exports" => Some(Limit::Export),
            "compare" | "comparison" => Some(Limit::Comparison),
            _ => None,
        })
    }
}

/// A request over a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    limit: Limit,
    /// Units in `window_s`.
    quota: u64,
    window_s: u64,
    retry_after_s: u64,
    policy: HeaderValue,
}

impl From<Excess> for Problem {
    fn from(excess: Excess) -> Self {
        let Excess { limit, quota, window_s, retry_after_s, policy } = excess;
        let span = if window_s == 60 { "minute" } else { "UTC day" };
        let unit = limit.unit();
        let detail =
            format!("the limit of {quota} {unit} in a {span} is used up; come back in {retry_after_s} s");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        let stands = Stands { policy, name: limit.name(), remaining: 0, reset_s: retry_after_s };
        problem.stands = Some(Box::new(stands));
        problem.retry_after_s = Some(retry_after_s);
        problem.members.insert("limit".to_owned(), Value::from(limit.name()));
        problem.members.insert("retry_after_s".to_owned(), Value::from(retry_after_s));
        problem
    }
}

/// A limit with its rate and the header that names it.
struct Policy {
    limit: Limit,
    rate: Rate,
    header: HeaderValue,
}

impl Policy {
    fn new(limit: Limit, per_minute: u64, burst: u64) -> Option<Self> {
        let rate = Rate::new(per_minute, burst)?;
        // There is one for each limit of the process. Of a text that stays, copies need not be counted, which all cores would do
        // at the same place.
        let text = policy_text(limit, rate.burst(), rate.window_s().max(1));
        Some(Policy { limit, rate, header: HeaderValue::from_static(text.leak()) })
    }

    /// With a burst of a minute's worth.
    fn even(limit: Limit, per_minute: u64) -> Option<Self> {
        Policy::new(limit, per_minute, per_minute)
    }

    fn take(&self, bucket: &Bucket, units: u64, now_ns: u64) -> Result<Standing, Excess> {
        bucket.take(&self.rate, units, now_ns).map_err(|empty| self.excess(empty))
    }

    fn check(&self, bucket: &Bucket, now_ns: u64) -> Result<(), Excess> {
        bucket.check(&self.rate, now_ns).map_err(|empty| self.excess(empty))
    }

    fn excess(&self, empty: Empty) -> Excess {
        Excess {
            limit: self.limit,
            quota: self.rate.per_minute(),
            window_s: 60,
            retry_after_s: empty.retry_after_s,
            policy: self.header.clone(),
        }
    }
}

/// A policy as `RateLimit-Policy` names it: so many units in so many seconds.
fn policy_text(limit: Limit, quota: u64, window_s: u64) -> String {
    format!("\"{}\";q={quota};w={window_s}", limit.name())
}

/// Where a caller stands, for the headers of the reply.
#[derive(Clone, Debug)]
pub struct Stands {
    policy: HeaderValue,
    name: &'static str,
    remaining: u64,
    reset_s: u64,
}

impl Stands {
    /// Writes the fields of draft-ietf-httpapi-ratelimit-headers-10: what is left, and seconds until all of it is back.
    fn write(&self, headers: &mut HeaderMap) {
        let Stands { policy, name, remaining, reset_s } = self;
        let mut text = [0; STANDING_BYTES_MAX];
        let mut end = 0;
        let (mut left, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
        for part in ["\"", name, "\";r=", left.format(*remaining), ";t=", reset.format(*reset_s)] {
            text[end..end + part.len()].copy_from_slice(part.as_bytes());
            end += part.len();
        }
        if let Ok(value) = HeaderValue::from_bytes(&text[..end]) {
            headers.insert(RATE_LIMIT, value);
            headers.insert(RATE_LIMIT_POLICY, policy.clone());
        }
    }
}

/// The buckets of one caller.
#[derive(Debug, Default)]
struct Caller {
    requests: Bucket,
    search: Bucket,
    export: Bucket,
    comparison: Bucket,
    rows: Bucket,
    bytes: Bucket,
}

/// Whoever was counted lately, and no more of them than fit.
struct Tracked<K, V> {
    by_key: AnswerCache<K, Arc<V>>,
}

impl<K: std::hash::Hash + Eq, V: Default> Tracked<K, V> {
    fn new(tracked_max: u64) -> Self {
        // The map counts bytes of its own per entry beside these.
        let bytes_max = tracked_max.max(TRACKED_MIN) * AnswerCache::<K, Arc<V>>::entry_bytes(TRACKED_BYTES);
        Tracked { by_key: AnswerCache::new(bytes_max) }
    }

    /// What `look` makes of the buckets of a key. Two threads that see it for the first time at the same moment may count one request
    /// each for itself.
    fn of<Q, T>(&self, key: &Q, look: impl Fn(&V) -> T) -> T
    where
        Q: std::hash::Hash + Eq + ?Sized + ToOwned,
        K: std::borrow::Borrow<Q> + From<Q::Owned>,
    {
        // Looked at where they are: counting who holds them would take longer than the look.
        self.by_key.with(key, |buckets| look(buckets)).unwrap_or_else(|| {
            let buckets = Arc::<V>::default();
            self.by_key.insert(K::from(key.to_owned()), Arc::clone(&buckets), TRACKED_BYTES);
            look(&buckets)
        })
    }

    fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// All limits of the server.
pub struct Limits {
    /// Where the buckets' time begins: limits know no wall clock, so one that jumps changes nothing.
    began: Instant,
    roles: [Option<Policy>; Role::ALL.len()],
    search: Option<Policy>,
    export: Option<Policy>,
    comparison: Option<Policy>,
    rows: Option<Policy>,
    bytes: Option<Policy>,
    address: Option<Policy>,
    failed_credential_cost: u64,
    project_rows_per_day: u64,
    project_bytes_per_day: u64,
    cached_age_max: Duration,
    proxies: Proxies,
    callers: Tracked<String, Caller>,
    addresses: Tracked<IpAddr, Bucket>,
    exceeded: [AtomicU64; Limit::ALL.len()],
    served_from_cache: AtomicU64,
}

impl Limits {
    /// As configured.
    pub fn new(config: &LimitsConfig, proxies: Proxies) -> Self {
        let role = |role| match role {
            Role::Admin => (config.admin_per_minute, config.admin_burst),
            Role::Developer => (config.developer_per_minute, config.developer_burst),
            Role::Viewer => (config.viewer_per_minute, config.viewer_burst),
            Role::Billing => (config.billing_per_minute, config.billing_burst),
        };
        let of_role = |(per_minute, burst)| Policy::new(Limit::Requests, per_minute, burst);
        Limits {
            began: Instant::now(),
            roles: Role::ALL.map(role).map(of_role),
            search: Policy::even(Limit::Search, config.search_per_minute),
            export: Policy::even(Limit::Export, config.export_per_minute),
            comparison: Policy::even(Limit::Comparison, config.comparison_per_minute),
            rows: Policy::even(Limit::IngestRows, config.ingest_rows_per_minute),
            bytes: Policy::even(Limit::IngestBytes, config.ingest_bytes_per_minute),
            address: Policy::even(Limit::Address, config.address_per_minute),
            failed_credential_cost: config.failed_credential_cost,
            project_rows_per_day: config.project_rows_per_day,
            project_bytes_per_day: config.project_bytes_per_day,
            cached_age_max: Duration::from_millis(config.cached_age_max_ms),
            proxies,
            callers: Tracked::new(config.tracked_max),
            addresses: Tracked::new(config.tracked_max),
            exceeded: Default::default(),
            served_from_cache: AtomicU64::new(0),
        }
    }

    /// Counts a request of a caller to a route, by its path template. Also says where the caller stands, where there is a limit.
    pub fn request(
        &self,
        role: Role,
        subject: &str,
        path: &str,
        now: Instant,
    ) -> Result<Option<Stands>, Excess> {
        let Some(policy) = &self.roles[role as usize] else { return Ok(None) };
        let now_ns = self.ns_at(now);
        let class = if role == Role::Admin { None } else { Limit::of_route(path) };
        let standing = self.counted(self.callers.of(subject, |caller| {
            let standing = policy.take(&caller.requests, 1, now_ns)?;
            class.map_or(Ok(()), |limit| self.take_class(role, caller, limit, now_ns))?;
            Ok(standing)
        }))?;
        let (policy, name) = (policy.header.clone(), policy.limit.name());
        Ok(Some(Stands { policy, name, remaining: standing.remaining, reset_s: standing.full_in_s }))
    }

    /// Counts the questions of a batch past its first, which was counted as the request.
    pub fn further_requests(&self, role: Role, subject: &str, count: u64) {
        if let Some(policy) = self.roles[role as usize].as_ref().filter(|_| count > 0) {
            let now_ns = self.now_ns();
            self.callers.of(subject, |caller| caller.requests.charge(&policy.rate, count, now_ns));
        }
    }

    /// Counts a question that compares two ranges and has to be computed.
    pub fn comparison(&self, role: Role, subject: &str) -> Result<(), Excess> {
        let now_ns = self.now_ns();
        let taken =
            self.callers.of(subject, |caller| self.take_class(role, caller, Limit::Comparison, now_ns));
        self.counted(taken)
    }

    /// Admins have the limit of their role alone: classes are there to share a server among those who use it.
    fn take_class(&self, role: Role, caller: &Caller, limit: Limit, now_ns: u64) -> Result<(), Excess> {
        let (policy, bucket) = match limit {
            Limit::Search => (&self.search, &caller.search),
            Limit::Export => (&self.export, &caller.export),
            _ => (&self.comparison, &caller.comparison),
        };
        match policy {
            Some(policy) if role != Role::Admin => policy.take(bucket, 1, now_ns).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Whether a key may send rows now. A batch is let in while anything is left, however large it is, and is charged afterwards.
    pub fn may_send(&self, subject: &str) -> Result<(), Excess> {
        if self.rows.is_none() && self.bytes.is_none() {
            return Ok(());
        }
        let now_ns = self.now_ns();
        let check = |policy: &Option<Policy>, bucket: &Bucket| {
            policy.as_ref().map_or(Ok(()), |policy| policy.check(bucket, now_ns))
        };
        self.counted(self.callers.of(subject, |caller| {
            check(&self.rows, &caller.rows).and_then(|()| check(&self.bytes, &caller.bytes))
        }))
    }

    /// Charges rows and bytes that a key has sent.
    pub fn sent(&self, subject: &str, rows: u64, bytes: u64) {
        if self.rows.is_none() && self.bytes.is_none() {
            return;
        }
        let now_ns = self.now_ns();
        self.callers.of(subject, |caller| {
            if let Some(policy) = &self.rows {
                caller.rows.charge(&policy.rate, rows, now_ns);
            }
            if let Some(policy) = &self.bytes {
                caller.bytes.charge(&policy.rate, bytes, now_ns);
            }
        });
    }

    /// Whether what projects store is counted.
    pub fn has_quotas(&self) -> bool {
        self.project_rows_per_day > 0 || self.project_bytes_per_day > 0
    }

    /// Whether a project that has stored so much today, which ends in `day_left`, may store more.
    pub fn may_store(&self, (rows, bytes): (u64, u64), day_left: Duration) -> Result<(), Excess> {
        let within = |limit, used: u64, quota: u64| match quota > 0 && used >= quota {
            false => Ok(()),
            true => {
                let retry_after_s = day_left.as_secs() + 1;
                let policy = HeaderValue::from_str(&policy_text(limit, quota, DAY_S))
                    .expect("digits and letters make a header");
                Err(Excess { limit, quota, window_s: DAY_S, retry_after_s, policy })
            }
        };
        let rows = within(Limit::ProjectRows, rows, self.project_rows_per_day);
        self.counted(rows.and_then(|()| within(Limit::ProjectBytes, bytes, self.project_bytes_per_day)))
    }

    /// How old an answer may be that a caller over its limit gets; none where it gets none.
    pub fn cached_age_max(&self) -> Option<Duration> {
        (!self.cached_age_max.is_zero()).then_some(self.cached_age_max)
    }

    /// Counts an answer to a caller over its limit.
    pub fn served_from_cache(&self) {
        self.served_from_cache.fetch_add(1, Ordering::Relaxed);
    }

    fn arrived_from(&self, address: IpAddr, now: Instant) -> Result<(), Excess> {
        let Some(policy) = &self.address else { return Ok(()) };
        let now_ns = self.ns_at(now);
        let taken = self.addresses.of(&address::key(address), |bucket| policy.take(bucket, 1, now_ns));
        self.counted(taken.map(|_| ()))
    }

    /// Counts a wrong credential from an address, beyond its request.
    fn failed_credential(&self, address: IpAddr) {
        if let Some(policy) = &self.address {
            let further = self.failed_credential_cost.saturating_sub(1);
            let now_ns = self.now_ns();
            self.addresses.of(&address::key(address), |bucket| bucket.charge(&policy.rate, further, now_ns));
        }
    }

    fn counted<T>(&self, outcome: Result<T, Excess>) -> Result<T, Excess> {
        outcome.inspect_err(|excess| {
            self.exceeded[excess.limit as usize].fetch_add(1, Ordering::Relaxed);
        })
    }

    fn now_ns(&self) -> u64 {
        self.ns_at(Instant::now())
    }

    fn ns_at(&self, instant: Instant) -> u64 {
        // Reaches for five centuries.
        instant.duration_since(self.began).as_nanos() as u64
    }

    /// Adds the figures of all limits.
    pub fn collect(&self, out: &mut Families) {
        let exceeded = out.family(
            "rate_limit_exceeded_total",
            Kind::Counter,
            "Requests over a limit, by limit; those answered from a cache all the same are counted too.",
        );
        for limit in Limit::ALL {
            let count = self.exceeded[limit as usize].load(Ordering::Relaxed);
            exceeded.add(&[("limit", limit.name())], count);
        }
        let served = self.served_from_cache.load(Ordering::Relaxed);
        let help = "Questions over a limit, or while the server was full, that were answered from a cache instead of with 429 or 503.";
        out.single("tidewater_rate_limited_from_cache_total", Kind::Counter, help, served);
        let help = "Callers and addresses that are counted; those not seen for longest are forgotten past limits.tracked_max.";
        let tracked = out.family("tidewater_rate_limit_tracked", Kind::Gauge, help);
        tracked.add(&[("of", "callers")], self.callers.len() as u64);
        tracked.add(&[("of", "addresses")], self.addresses.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(config: LimitsConfig) -> Limits {
        Limits::new(&config, Proxies::default())
    }

    #[test]
    fn every_role_has_its_own_rate_and_every_caller_its_own_bucket() {
        let config = LimitsConfig { viewer_per_minute: 1, viewer_burst: 2, ..LimitsConfig::default() };
        let limits = limits(config);
        let ask = |role, subject| limits.request(role, subject, "/", Instant::now());
        assert!(ask(Role::Viewer, "a").is_ok() && ask(Role::Viewer, "a").is_ok());
        let excess = ask(Role::Viewer, "a").expect_err("over");
        assert_eq!((excess.limit, excess.quota), (Limit::Requests, 1));
        assert!((59..=61).contains(&excess.retry_after_s), "{excess:?}");
        assert!(ask(Role::Viewer, "b").is_ok() && ask(Role::Billing, "c").is_ok());
        let stands = ask(Role::Admin, "d").expect("within").expect("a limit");
        assert_eq!(
            (stands.policy.as_bytes(), stands.remaining),
            (&b"\"requests\";q=120000;w=72"[..], 119_999)
        );
        let mut headers = HeaderMap::new();
        stands.write(&mut headers);
        assert_eq!(headers["ratelimit"], "\"requests\";r=119999;t=1");
    }

    #[test]
    fn classes_are_known_by_path_and_spare_admins() {
        let limits = limits(LimitsConfig { export_per_minute: 1, ..LimitsConfig::default() });
        let export =
            |role, subject| limits.request(role, subject, "/api/v1/export/{dataset}", Instant::now());
        assert!(export(Role::Developer, "a").is_ok());
        assert_eq!(export(Role::Developer, "a").expect_err("over").limit, Limit::Export);
        assert!((0..5).all(|_| export(Role::Admin, "b").is_ok()));
        assert!((0..50).all(|_| limits.comparison(Role::Viewer, "c").is_ok()));
        assert_eq!(limits.comparison(Role::Viewer, "c").expect_err("over").limit, Limit::Comparison);
        let classes =
            ["/api/v1/query", "/api/v1/traces/search", "/api/v1/models/compare", "/api/v1/research"];
        let classes = classes.map(Limit::of_route);
        assert_eq!(classes, [None, Some(Limit::Search), Some(Limit::Comparison), None]);
    }

    #[test]
    fn rows_are_owed_after_a_large_batch() {
        let limits = limits(LimitsConfig { ingest_rows_per_minute: 60, ..LimitsConfig::default() });
        assert_eq!(limits.may_send("k"), Ok(()));
        limits.sent("k", 90, 1);
        let excess = limits.may_send("k").expect_err("it owes");
        assert!(excess.limit == Limit::IngestRows && (30..=31).contains(&excess.retry_after_s), "{excess:?}");
        assert_eq!(limits.may_send("another"), Ok(()));
    }

    #[test]
    fn a_day_of_a_project_ends() {
        let config =
            LimitsConfig { project_rows_per_day: 10, project_bytes_per_day: 100, ..LimitsConfig::default() };
        let limits = limits(config);
        let hour = Duration::from_secs(3_600);
        assert_eq!(limits.may_store((9, 99), hour), Ok(()));
        let excess = limits.may_store((10, 0), hour).expect_err("over");
        assert_eq!((excess.limit, excess.retry_after_s), (Limit::ProjectRows, 3_601));
        assert_eq!(limits.may_store((0, 100), hour).expect_err("over").limit, Limit::ProjectBytes);
    }

    #[test]
    fn nothing_is_limited_where_all_is_off() {
        let config = LimitsConfig {
            admin_per_minute: 0,
            developer_per_minute: 0,
            address_per_minute: 0,
            comparison_per_minute: 0,
            ..LimitsConfig::default()
        };
        let limits = limits(config);
        let address = IpAddr::from([1, 2, 3, 4]);
        for _ in 0..200_000 {
            assert!(limits.request(Role::Admin, "a", "/", Instant::now()).expect("no limit").is_none());
        }
        limits.failed_credential(address);
        assert_eq!(
            (limits.arrived_from(address, Instant::now()), limits.comparison(Role::Viewer, "v")),
            (Ok(()), Ok(()))
        );
        assert_eq!((limits.callers.len(), limits.addresses.len()), (1, 0));
    }

    #[test]
    fn any_number_of_callers_and_addresses_is_bounded() {
        let limits = limits(LimitsConfig { tracked_max: 1_000, ..LimitsConfig::default() });
        for index in 0..20_000u32 {
            assert!(limits.request(Role::Viewer, &format!("k{index}"), "/", Instant::now()).is_ok());
            assert_eq!(limits.arrived_from(IpAddr::from(index.to_be_bytes()), Instant::now()), Ok(()));
        }
        assert_eq!((limits.callers.len(), limits.addresses.len()), (1_000, 1_000));
    }

    #[test]
    fn wrong_credentials_use_an_address_up() {
        let limits = limits(LimitsConfig::default());
        let (bad, good) = (IpAddr::from([6, 6, 6, 6]), IpAddr::from([7, 7, 7, 7]));
        let mut tries = 0;
        while limits.arrived_from(bad, Instant::now()).is_ok() {
            limits.failed_credential(bad);
            tries += 1;
        }
        // Some comes back meanwhile.
        assert!((600..=660).contains(&tries), "{tries}");
        assert_eq!(limits.arrived_from(good, Instant::now()), Ok(()));
    }
}
