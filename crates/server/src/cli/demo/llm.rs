//! Traces of language-model calls: a mix of providers, token counts and latencies with long tails, costs after a price
//! table, errors, and now and then a bad deploy.
//!
//! Not here: when they are sent.

use super::Row;
use super::random::Random;
use super::season::{Clock, MINUTE_US, activity};

/// Traces a minute at density 1, on the average of a week.
const TRACES_MEAN: f64 = 5.2;
/// People who use the product.
const USERS: f64 = 3_000.0;
/// Weekday and minute of the weekly deploy: Wednesday 14:00 UTC.
const DEPLOY: (i64, i64) = (2, 14 * 60);
/// Every third deploy is bad, so that a month holds one.
const BAD_DEPLOY_EVERY_WEEKS: i64 = 3;
/// Minutes until a bad deploy is fixed.
const BAD_DEPLOY_MINUTES: i64 = 95;

/// A model, its speed, and its list price in nano-dollars a token (dollars per million tokens × 1,000).
struct Model {
    provider: &'static str,
    name: &'static str,
    input_price: u64,
    output_price: u64,
    /// Milli-seconds per output token.
    token_ms: f64,
    reasons: bool,
}

const fn model(
    provider: &'static str,
    name: &'static str,
    (input_price, output_price): (u64, u64),
    token_ms: f64,
    reasons: bool,
) -> Model {
    Model { provider, name, input_price, output_price, token_ms, reasons }
}

/// Popularity and model; prices are of realistic size, not anyone's offer.
const MODELS: [(u32, Model); 10] = [
    (30, model("openai", "gpt-5-mini", (250, 2_000), 8.0, false)),
    (18, model("anthropic", "claude-sonnet-4-5", (3_000, 15_000), 13.0, false)),
    (12, model("google", "gemini-2.5-flash", (300, 2_500), 5.0, false)),
    (10, model("openai", "gpt-5", (1_250, 10_000), 16.0, true)),
    (8, model("anthropic", "claude-haiku-4-5", (1_000, 5_000), 6.0, false)),
    (6, model("mistral", "mistral-small", (100, 300), 6.0, false)),
    (5, model("google", "gemini-2.5-pro", (1_250, 10_000), 14.0, true)),
    (5, model("meta", "llama-4-maverick", (270, 850), 7.0, false)),
    (4, model("anthropic", "claude-opus-4-5", (5_000, 25_000), 18.0, true)),
    (2, model("mistral", "codestral", (300, 900), 5.0, false)),
];

/// What a call is for: name, operation, median tokens in and out.
struct Task {
    name: &'static str,
    operation: &'static str,
    input: f64,
    output: f64,
}

const TASKS: [(u32, Task); 6] = [
    (40, Task { name: "support-chat", operation: "chat", input: 900.0, output: 180.0 }),
    (20, Task { name: "answer-from-docs", operation: "chat", input: 3_800.0, output: 260.0 }),
    (15, Task { name: "summarise-ticket", operation: "chat", input: 1_600.0, output: 120.0 }),
    (12, Task { name: "extract-invoice", operation: "extract", input: 2_200.0, output: 320.0 }),
    (8, Task { name: "plan-agent-step", operation: "agent", input: 5_200.0, output: 410.0 }),
    (5, Task { name: "write-release-notes", operation: "chat", input: 1_200.0, output: 700.0 }),
];

/// The rows of one minute, not yet in order.
pub fn rows(minute: i64, density: f64, out: &mut Vec<Row>) {
    let mean = TRACES_MEAN * density * activity(minute);
    let count = Random::of("llm", minute, u64::MAX).count(mean);
    for index in 0..count {
        let mut random = Random::of("llm", minute, index);
        let at_us = minute * MINUTE_US + random.below(MINUTE_US.unsigned_abs()).cast_signed();
        out.push(Row { at_us, json: trace(minute, at_us, &mut random) });
    }
}

/// What runs at a minute, and whether it is a bad deploy that nobody has fixed yet.
fn release(minute: i64) -> (String, bool) {
    let clock = Clock::at(minute);
    let since = (clock.weekday - DEPLOY.0) * super::season::DAY_MINUTES + clock.minute_of_day - DEPLOY.1;
    let (week, since) = if since < 0 { (clock.week() - 1, since + 7 * 1_440) } else { (clock.week(), since) };
    let was_bad = week % BAD_DEPLOY_EVERY_WEEKS == 0;
    let is_bad = was_bad && since < BAD_DEPLOY_MINUTES;
    let patch = u8::from(was_bad && !is_bad);
    (format!("3.{}.{patch}", week % 100), is_bad)
}

fn trace(minute: i64, at_us: i64, random: &mut Random) -> String {
    let (release, bad_deploy) = release(minute);
    let trace_id = (u128::from(random.bits()) << 64) | u128::from(random.bits());
    let model = random.weighted(&MODELS);
    let task = random.weighted(&TASKS);
    // A few people ask most of the questions.
    let user = (USERS * random.unit().powi(3)) as u64;
    let session = Random::of("llm-session", minute / 45, user).bits() >> 32;
    let error = error(bad_deploy, random);
    let input_tokens = random.log_normal(task.input, 0.7).min(200_000.0) as u64 + 1;
    // A failed call returns no text and is billed for none.
    let output_tokens =
        if error.is_none() { random.log_normal(task.output, 0.6).min(32_000.0) as u64 + 1 } else { 0 };
    let cached_tokens =
        if random.chance(0.4) { (input_tokens as f64 * 0.8 * random.unit()) as u64 } else { 0 };
    let reasoning_tokens =
        if model.reasons { (output_tokens as f64 * random.unit() * 0.7) as u64 } else { 0 };
    // Cached input costs a tenth.
    let cost_tenths = model.input_price * (10 * (input_tokens - cached_tokens) + cached_tokens);
    let cost_nanos = cost_tenths / 10 + model.output_price * output_tokens;
    let slow = if bad_deploy { 2.6 } else { 1.0 };
    let ttft_ms = slow * random.log_normal(320.0 + input_tokens as f64 * 0.03, 0.45);
    let tail = if random.chance(0.01) { 4.0 } else { 1.0 };
    let duration_ms = match error {
        Some("timeout") => 30_000.0,
        Some(_) => ttft_ms * 0.6,
        None => ttft_ms + tail * slow * output_tokens as f64 * random.log_normal(model.token_ms, 0.25),
    };
    let environment = if random.chance(0.93) { "production" } else { "staging" };
    let stream = task.operation == "chat";
    let mut json = format!(
        "{{\"ts\":{at_us},\"trace_id\":\"{trace_id:032x}\",\"name\":\"{}\",\"operation\":\"{}\",\"environment\":\"{environment}\",\
         \"release\":\"{release}\",\"user\":\"user-{user}\",\"session\":\"{session:08x}\",\"provider\":\"{}\",\"model\":\"{}\",\
         \"stream\":{stream},\"input_tokens\":{input_tokens},\"output_tokens\":{output_tokens},\"cached_tokens\":{cached_tokens},\
         \"reasoning_tokens\":{reasoning_tokens},\"cost_usd\":{}.{:09},\"duration_ms\":{duration_ms:.1}",
        task.name,
        task.operation,
        model.provider,
        model.name,
        cost_nanos / 1_000_000_000,
        cost_nanos % 1_000_000_000,
    );
    match error {
        Some(error) => json += &format!(",\"status\":\"error\",\"error\":\"{error}\""),
        None => json += &format!(",\"status\":\"ok\",\"ttft_ms\":{ttft_ms:.1}"),
    }
    if error.is_none() && random.chance(0.12) {
        let quality: f64 = if bad_deploy { 0.55 } else { 0.86 };
        json += &format!(",\"score\":{:.2}", (quality + 0.12 * random.normal()).clamp(0.0, 1.0));
    }
    let region = random.pick(&["eu-central", "us-east", "ap-south"]);
    let prompt = random.pick(&["v7", "v8"]);
    let plan = random.weighted(&[(70, "free"), (25, "team"), (5, "enterprise")]);
    json += &format!(
        ",\"tags\":[\"{plan}\",\"{prompt}\"],\"props\":{{\"region\":\"{region}\",\"prompt_version\":\"{prompt}\"}}}}"
    );
    json
}

fn error(bad_deploy: bool, random: &mut Random) -> Option<&'static str> {
    if bad_deploy && random.chance(0.28) {
        return Some("invalid_request");
    }
    let errors =
        [(50, "rate_limited"), (25, "timeout"), (15, "server_error"), (10, "context_length_exceeded")];
    random.chance(0.018).then(|| *random.weighted(&errors))
}

#[cfg(test)]
mod tests {
    use super::super::season::DAY_MINUTES;
    use super::*;

    #[test]
    fn a_month_holds_a_bad_deploy_and_its_fix() {
        for start in (20_000..20_040).map(|day| day * DAY_MINUTES) {
            let bad = (start..start + 30 * DAY_MINUTES).filter(|minute| release(*minute).1).count();
            assert!(bad >= 90, "{bad} bad minutes from {start}");
        }
        let bad = (0..).find(|minute| release(*minute).1).expect("one comes");
        assert!(release(bad).0.ends_with(".0") && release(bad + BAD_DEPLOY_MINUTES).0.ends_with(".1"));
    }
}
