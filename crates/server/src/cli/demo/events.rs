//! Visits to a shop's web site: sessions with a sequence of pages, campaigns, bots, and orders with revenue.
//!
//! A session begins in one minute and may reach into the next [`SESSION_MINUTES`]; a minute's rows are found by looking at
//! the sessions that began shortly before it, so that any minute can be made without the ones before. Not here: when rows
//! are sent.

use super::Row;
use super::random::Random;
use super::season::{Clock, MINUTE_US, activity};

/// Sessions that begin in a minute at density 1, on the average of a week.
const SESSIONS_MEAN: f64 = 1.95;
/// Longest session, in minutes.
const SESSION_MINUTES: i64 = 15;
/// Longest session, in events.
const SESSION_EVENTS_MAX: u64 = 24;
/// People who know the shop.
const VISITORS: f64 = 40_000.0;
/// A newsletter goes out on Tuesdays at 08:00 UTC and brings visits for six hours.
const NEWSLETTER: (i64, std::ops::Range<i64>) = (1, 480..840);
const HOST: &str = "shop.example";

/// Where a visit comes from.
#[derive(Clone, Copy)]
struct Source {
    referrer: &'static str,
    source: &'static str,
    medium: &'static str,
    campaign: &'static str,
    /// How likely a visit ends in an order, beside the others.
    intent: f64,
}

const fn source(
    referrer: &'static str,
    source: &'static str,
    medium: &'static str,
    campaign: &'static str,
    intent: f64,
) -> Source {
    Source { referrer, source, medium, campaign, intent }
}

const SOURCES: [(u32, Source); 7] = [
    (34, source("", "", "", "", 1.0)),
    (30, source("https://www.google.com/", "google", "organic", "", 0.9)),
    (12, source("https://www.google.com/", "google", "cpc", "autumn-sale", 1.5)),
    (9, source("https://www.instagram.com/", "instagram", "social", "autumn-sale", 0.5)),
    (6, source("https://news.ycombinator.com/", "hackernews", "referral", "", 0.2)),
    (5, source("https://duckduckgo.com/", "duckduckgo", "organic", "", 1.0)),
    (4, source("https://partner.example/", "partner", "referral", "partner-2026", 1.3)),
];
const NEWSLETTER_SOURCE: Source = source("", "newsletter", "email", "weekly-letter", 2.2);

/// Weight, country, region, city, language.
type Place = (&'static str, &'static str, &'static str, &'static str);
const PLACES: [(u32, Place); 10] = [
    (24, ("US", "California", "San Francisco", "en-US")),
    (10, ("US", "New York", "New York", "en-US")),
    (18, ("DE", "Berlin", "Berlin", "de-DE")),
    (9, ("DE", "Bayern", "München", "de-DE")),
    (11, ("GB", "England", "London", "en-GB")),
    (9, ("FR", "Île-de-France", "Paris", "fr-FR")),
    (7, ("IN", "Karnataka", "Bengaluru", "en-IN")),
    (5, ("BR", "São Paulo", "São Paulo", "pt-BR")),
    (4, ("JP", "Tokyo", "Tokyo", "ja-JP")),
    (3, ("PL", "Mazowieckie", "Warszawa", "pl-PL")),
];
/// Device, browser, operating system.
type Device = (&'static str, &'static str, &'static str);
const DEVICES: [(u32, Device); 7] = [
    (27, ("mobile", "Safari", "iOS")),
    (25, ("mobile", "Chrome", "Android")),
    (22, ("desktop", "Chrome", "Windows")),
    (11, ("desktop", "Safari", "macOS")),
    (7, ("desktop", "Firefox", "Windows")),
    (4, ("desktop", "Firefox", "Linux")),
    (4, ("tablet", "Safari", "iOS")),
];
const BOTS: [&str; 4] = ["Googlebot", "bingbot", "GPTBot", "AhrefsBot"];

/// Path, title and price of what is sold.
const PRODUCTS: [(u32, (&str, &str, f64)); 6] = [
    (30, ("/products/kettle", "Kettle", 59.0)),
    (24, ("/products/coffee-grinder", "Coffee grinder", 129.0)),
    (18, ("/products/teapot", "Teapot", 45.0)),
    (14, ("/products/scale", "Scale", 79.0)),
    (9, ("/products/espresso-machine", "Espresso machine", 649.0)),
    (5, ("/products/gift-card", "Gift card", 50.0)),
];
const ARTICLES: [(&str, &str); 4] = [
    ("/blog/how-to-grind", "How to grind coffee"),
    ("/blog/water-temperature", "Water temperature"),
    ("/blog/cold-brew", "Cold brew at home"),
    ("/blog/cleaning", "Cleaning an espresso machine"),
];

/// One session, before its events are written.
struct Session {
    /// `MINUTE-INDEX`, the prefix of its events' ids.
    id: String,
    /// Everything that its events share, as JSON members.
    shared: String,
    source: Source,
    is_bot: bool,
}

/// Appends the rows of one minute, not yet in order.
pub fn rows(minute: i64, density: f64, out: &mut Vec<Row>) {
    let (from, to) = (minute * MINUTE_US, (minute + 1) * MINUTE_US);
    for begin in minute - SESSION_MINUTES + 1..=minute {
        let mean = SESSIONS_MEAN * density * activity(begin);
        let count = Random::of("web", begin, u64::MAX).count(mean);
        for index in 0..count {
            session_rows(begin, index, from..to, out);
        }
    }
}

/// Those of a session's events that lie in a range of time.
fn session_rows(begin: i64, index: u64, wanted: std::ops::Range<i64>, out: &mut Vec<Row>) {
    let mut random = Random::of("web", begin, index);
    let session = session(begin, index, &mut random);
    let end = (begin + SESSION_MINUTES) * MINUTE_US;
    let mut at_us = begin * MINUTE_US + random.below(MINUTE_US.unsigned_abs()).cast_signed();
    let mut step = Step::Entry;
    for number in 0..SESSION_EVENTS_MAX {
        // Bots do not read.
        let median_s = if session.is_bot { 0.8 } else { 24.0 };
        let dwell_us = (random.log_normal(median_s, 0.9) * 1e6) as i64 + 1;
        let what = step.members(&session, dwell_us / 1_000, &mut random);
        if wanted.contains(&at_us) {
            let json = format!(
                "{{\"ts\":{at_us},\"event_id\":\"{}-{number}\",\"session\":\"{}\",{what},{}}}",
                session.id, session.id, session.shared
            );
            out.push(Row { at_us, json });
        }
        at_us += dwell_us;
        let Some(next) = step.next(&session, &mut random) else { return };
        if at_us >= end || at_us >= wanted.end {
            return;
        }
        step = next;
    }
}

fn session(begin: i64, index: u64, random: &mut Random) -> Session {
    let is_bot = random.chance(0.04);
    let clock = Clock::at(begin);
    let from_newsletter =
        clock.weekday == NEWSLETTER.0 && NEWSLETTER.1.contains(&clock.minute_of_day) && random.chance(0.3);
    let source = match () {
        () if is_bot => SOURCES[0].1,
        () if from_newsletter => NEWSLETTER_SOURCE,
        () => *random.weighted(&SOURCES),
    };
    // Some visitors come every day, most once a month.
    let visitor = (VISITORS * random.unit().powi(2)) as u64;
    // What belongs to the visitor stays the same in all visits.
    let mut person = Random::of("visitor", 0, visitor);
    let (country, region, city, language) = *person.weighted(&PLACES);
    let (device, browser, os) = *person.weighted(&DEVICES);
    let mut shared = match is_bot {
        true => {
            let bot = random.pick(&BOTS);
            format!(
                "\"user\":\"bot-{bot}\",\"is_bot\":true,\"device\":\"bot\",\"browser\":\"{bot}\",\"country\":\"US\""
            )
        }
        false => format!(
            "\"user\":\"visitor-{visitor}\",\"is_bot\":false,\"device\":\"{device}\",\"browser\":\"{browser}\",\"os\":\"{os}\",\
             \"country\":\"{country}\",\"region\":\"{region}\",\"city\":\"{city}\",\"language\":\"{language}\""
        ),
    };
    let origins = [
        ("referrer", source.referrer),
        ("source", source.source),
        ("medium", source.medium),
        ("campaign", source.campaign),
    ];
    for (name, value) in origins.into_iter().filter(|(_, value)| !value.is_empty()) {
        shared += &format!(",\"{name}\":\"{value}\"");
    }
    let variant = person.pick(&["a", "b"]);
    shared += &format!(",\"props\":{{\"experiment\":\"checkout-{variant}\"}}");
    Session { id: format!("{begin:x}-{index}"), shared, source, is_bot }
}

/// Where in the shop a visitor is.
#[derive(Clone, Copy)]
enum Step {
    Entry,
    Article,
    Product(&'static str, &'static str, f64),
    AddToCart(&'static str, f64),
    Checkout(f64),
    Order(f64),
}

impl Step {
    /// Where the visitor goes from here, or `None` when the visit ends.
    fn next(self, session: &Session, random: &mut Random) -> Option<Step> {
        let intent = session.source.intent;
        if session.is_bot {
            return random.chance(0.9).then(|| Step::browse(random));
        }
        match self {
            Step::Entry | Step::Article => random.chance(0.62).then(|| Step::browse(random)),
            Step::Product(path, _, price) if random.chance(0.11 * intent) => {
                Some(Step::AddToCart(path, price))
            }
            Step::Product(..) => random.chance(0.6).then(|| Step::browse(random)),
            Step::AddToCart(_, price) => random.chance(0.6).then_some(Step::Checkout(price)),
            Step::Checkout(price) => random.chance((0.55 * intent).min(0.9)).then_some(Step::Order(price)),
            Step::Order(_) => None,
        }
    }

    fn browse(random: &mut Random) -> Step {
        if random.chance(0.25) {
            return Step::Article;
        }
        let (path, title, price) = *random.weighted(&PRODUCTS);
        Step::Product(path, title, price)
    }

    /// The members of the event that only it has.
    fn members(self, session: &Session, dwell_ms: i64, random: &mut Random) -> String {
        let view = |path: &str, title: &str| {
            format!(
                "\"name\":\"pageview\",\"hostname\":\"{HOST}\",\"url\":\"https://{HOST}{path}\",\"path\":\"{path}\",\
                 \"title\":\"{title}\",\"duration_ms\":{dwell_ms}"
            )
        };
        let action = |name: &str, path: &str| {
            format!("\"name\":\"{name}\",\"hostname\":\"{HOST}\",\"path\":\"{path}\"")
        };
        match self {
            Step::Entry if session.source.source == "hackernews" => view(ARTICLES[0].0, ARTICLES[0].1),
            Step::Entry => view("/", "Everything for coffee and tea"),
            Step::Article => {
                let (path, title) = random.pick(&ARTICLES);
                view(path, title)
            }
            Step::Product(path, title, _) => view(path, title),
            Step::AddToCart(path, price) => format!("{},\"value\":{price}", action("add_to_cart", path)),
            Step::Checkout(_) => view("/checkout", "Checkout"),
            Step::Order(price) => {
                let pieces = 1 + random.below(10) / 8;
                format!(
                    "{},\"revenue\":{:.2},\"tags\":[\"order\"]",
                    action("order", "/checkout"),
                    price * pieces as f64
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_whole_when_its_minutes_are_put_together() {
        let begin = 29_900_000;
        let mut whole = Vec::new();
        session_rows(begin, 0, i64::MIN..i64::MAX, &mut whole);
        let mut parts = Vec::new();
        for minute in begin..begin + SESSION_MINUTES {
            session_rows(begin, 0, minute * MINUTE_US..(minute + 1) * MINUTE_US, &mut parts);
        }
        let texts = |rows: &[Row]| rows.iter().map(|row| row.json.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&whole), texts(&parts));
        assert!(!whole.is_empty());
    }

    #[test]
    fn some_visits_end_in_an_order() {
        let mut rows_out = Vec::new();
        let afternoon = 20_773 * super::super::season::DAY_MINUTES + 14 * 60;
        (afternoon..afternoon + 300).for_each(|minute| rows(minute, 1.0, &mut rows_out));
        let orders = rows_out.iter().filter(|row| row.json.contains("\"revenue\":")).count();
        let share = orders as f64 / rows_out.len() as f64;
        assert!((0.002..0.05).contains(&share), "{orders} orders in {} events", rows_out.len());
    }
}
