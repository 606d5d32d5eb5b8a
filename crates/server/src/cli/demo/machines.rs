//! Readings of ten machines in two plants: shifts, stops with reasons, counts, and sensor values. One machine's bearing wears
//! out: it grows warmer and shakier over two weeks, makes more scrap, breaks, and is repaired.
//!
//! Not here: when they are sent.

use super::Row;
use super::random::Random;
use super::season::{Clock, DAY_MINUTES, MINUTE_US};

/// Minutes that one reading covers.
const READING_MINUTES: i64 = 2;
/// Stops are drawn once per machine in blocks of this many minutes.
const STOP_BLOCK_MINUTES: i64 = 60;
/// The machine that wears out.
const FAILING: usize = 6;
/// Days from one repair of the failing machine to the next.
const WEAR_DAYS: i64 = 15;
/// Minutes the failing machine stands still at the end of its wear.
const REPAIR_MINUTES: i64 = 9 * 60;

struct Machine {
    site: &'static str,
    line: &'static str,
    name: &'static str,
    product: &'static str,
    /// Seconds a piece takes at best.
    ideal_cycle_s: f64,
    temperature_c: f64,
    power_kw: f64,
}

const fn machine(
    (site, line, name): (&'static str, &'static str, &'static str),
    product: &'static str,
    ideal_cycle_s: f64,
    temperature_c: f64,
    power_kw: f64,
) -> Machine {
    Machine { site, line, name, product, ideal_cycle_s, temperature_c, power_kw }
}

const MACHINES: [Machine; 10] = [
    machine(("lyon", "housing", "press-01"), "housing-a", 4.0, 61.0, 42.0),
    machine(("lyon", "housing", "press-02"), "housing-b", 4.0, 60.0, 41.0),
    machine(("lyon", "housing", "mill-03"), "housing-a", 9.5, 54.0, 18.0),
    machine(("lyon", "assembly", "robot-04"), "pump-10", 12.0, 38.0, 6.0),
    machine(("lyon", "assembly", "packer-05"), "pump-10", 6.0, 31.0, 3.5),
    machine(("pune", "castings", "furnace-06"), "cast-7", 15.0, 88.0, 120.0),
    machine(("pune", "castings", "press-07"), "cast-7", 5.0, 63.0, 45.0),
    machine(("pune", "castings", "mill-08"), "cast-9", 8.0, 55.0, 19.0),
    machine(("pune", "assembly", "robot-09"), "valve-3", 10.0, 39.0, 6.5),
    machine(("pune", "assembly", "packer-10"), "valve-3", 5.0, 32.0, 3.5),
];

const STOPS: [(u32, &str); 5] = [
    (35, "jam"),
    (25, "material missing"),
    (18, "tool change"),
    (12, "operator missing"),
    (10, "sensor fault"),
];

/// What a machine does in one reading.
struct Doing {
    state: &'static str,
    reason: Option<&'static str>,
    /// Part of the reading it was meant to run, and did run.
    planned: f64,
    running: f64,
}

/// The rows of one minute, not yet in order. Machines report as often as they do: a density does not change them.
pub fn rows(minute: i64, out: &mut Vec<Row>) {
    for (index, machine) in MACHINES.iter().enumerate() {
        if (minute + index as i64) % READING_MINUTES == 0 {
            // Every machine has its own second.
            let at_us = minute * MINUTE_US + (index as i64 * 5 + 3) * 1_000_000;
            out.push(Row { at_us, json: reading(minute, at_us, index, machine) });
        }
    }
}

/// How worn the failing machine is, 0 to 1, or `None` while it is being repaired.
fn wear(minute: i64) -> Option<f64> {
    let cycle = WEAR_DAYS * DAY_MINUTES;
    let running = cycle - REPAIR_MINUTES;
    let place = minute.rem_euclid(cycle);
    (place < running).then(|| (place as f64 / running as f64).powi(3))
}

fn doing(minute: i64, index: usize) -> Doing {
    let clock = Clock::at(minute);
    let stands = |state, reason, planned| Doing { state, reason, planned, running: 0.0 };
    if clock.weekday == 6 {
        return stands("off", None, 0.0);
    }
    if index == FAILING && wear(minute).is_none() {
        return stands("down", Some("bearing failure"), 1.0);
    }
    // Ten minutes of hand-over at the beginning of a shift are not planned time.
    if (clock.minute_of_day + 2 * 60) % (8 * 60) < 10 {
        return stands("setup", Some("shift change"), 0.0);
    }
    let mut random = Random::of("stop", minute.div_euclid(STOP_BLOCK_MINUTES), index as u64);
    let begins = random.below(STOP_BLOCK_MINUTES.unsigned_abs()).cast_signed();
    let lasts = 2 + random.log_normal(5.0, 0.8).min(25.0) as i64;
    let within = minute.rem_euclid(STOP_BLOCK_MINUTES) - begins;
    if random.chance(0.42) && (0..lasts).contains(&within) {
        return stands("down", Some(*random.weighted(&STOPS)), 1.0);
    }
    Doing { state: "running", reason: None, planned: 1.0, running: 1.0 }
}

fn shift(clock: Clock) -> &'static str {
    match clock.minute_of_day / 60 {
        6..14 => "early",
        14..22 => "late",
        _ => "night",
    }
}

fn reading(minute: i64, at_us: i64, index: usize, machine: &Machine) -> String {
    let mut random = Random::of("machine", minute, index as u64);
    let clock = Clock::at(minute);
    let doing = doing(minute, index);
    let worn = if index == FAILING { wear(minute).unwrap_or(1.0) } else { 0.0 };
    let reading_s = (READING_MINUTES * 60) as f64;
    let (planned_s, run_s) = (doing.planned * reading_s, doing.running * reading_s);
    // Night crews are a little slower.
    let pace =
        (0.95 - if shift(clock) == "night" { 0.05 } else { 0.0 } + 0.02 * random.normal()).clamp(0.7, 1.0);
    let total_count = (run_s * pace / machine.ideal_cycle_s) as u64;
    let scrap = 0.012 + 0.11 * worn;
    let reject_count = (0..total_count).filter(|_| random.chance(scrap)).count() as u64;
    let good_count = total_count - reject_count;
    let load = if doing.running > 0.0 { 1.0 } else { 0.25 };
    let afternoon = 2.5 * (std::f64::consts::TAU * (clock.hour() - 9.0) / 24.0).sin();
    let warm = 22.0 + (machine.temperature_c - 22.0) * load + afternoon;
    let temperature_c = warm + 27.0 * worn + 0.6 * random.normal();
    let vibration_mm_s = (0.4 + 1.5 * load + 6.0 * worn + 0.15 * random.normal()).max(0.05);
    let pressure_bar = 6.0 * load + 0.1 * random.normal().abs();
    let power_kw =
        machine.power_kw * (0.1 + 0.9 * load) * (1.0 + 0.15 * worn) * (1.0 + 0.03 * random.normal());
    let mut json = format!(
        "{{\"ts\":{at_us},\"event_id\":\"{}-{minute}\",\"site\":\"{}\",\"line\":\"{}\",\"machine\":\"{}\",\"product\":\"{}\",\
         \"shift\":\"{}\",\"state\":\"{}\",\"planned_s\":{planned_s},\"run_s\":{run_s},\"down_s\":{},\"ideal_cycle_s\":{},\
         \"ideal_s\":{},\"ideal_good_s\":{},\"total_count\":{total_count},\"good_count\":{good_count},\"reject_count\":{reject_count},\
         \"temperature_c\":{temperature_c:.2},\"vibration_mm_s\":{vibration_mm_s:.3},\"pressure_bar\":{pressure_bar:.2},\
         \"power_kw\":{power_kw:.2},\"energy_kwh\":{:.4}",
        machine.name,
        machine.site,
        machine.line,
        machine.name,
        machine.product,
        shift(clock),
        doing.state,
        planned_s - run_s,
        machine.ideal_cycle_s,
        machine.ideal_cycle_s * total_count as f64,
        machine.ideal_cycle_s * good_count as f64,
        power_kw * reading_s / 3_600.0,
    );
    if let Some(reason) = doing.reason {
        json += &format!(",\"reason\":\"{reason}\"");
    }
    json += "}";
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_machine_breaks_every_month_and_shows_it_before() {
        for start in (20_000..20_030).map(|day| day * DAY_MINUTES) {
            let month = start..start + 30 * DAY_MINUTES;
            assert!(month.clone().any(|minute| wear(minute).is_none()), "a month without a failure");
            let wears: Vec<f64> = month.filter_map(wear).collect();
            assert!(wears.iter().any(|wear| *wear > 0.9) && wears.iter().any(|wear| *wear < 0.1));
        }
    }

    #[test]
    fn machines_stop_now_and_then() {
        let monday = 20_773 * DAY_MINUTES;
        let states: Vec<&str> = (monday..monday + DAY_MINUTES).map(|minute| doing(minute, 0).state).collect();
        let down = states.iter().filter(|state| **state == "down").count();
        assert!((10..300).contains(&down), "{down} minutes of stops");
    }
}
