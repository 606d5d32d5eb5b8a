//! Decisions at the desk: without time, threads or questions.

use std::time::Duration;

use super::Class::{Heavy, Large, Light};
use super::*;

const LIMITS: Limits = Limits { running_max: 4, heavy_running_max: 2, waiting_max: 16 };

fn project(name: &str) -> ProjectName {
    ProjectName::new(name).expect("a name")
}

/// Arrives alone; the ticket and whether it runs.
fn arrive(desk: &mut Desk, class: Class, name: &str) -> Result<(Ticket, bool), Reason> {
    let party = Party { questions: 1, in_demand: false };
    desk.arrive(class, &project(name), party).map(|arrival| match arrival {
        Arrival::Runs(ticket) => (ticket, true),
        Arrival::Waits(ticket) => (ticket, false),
    })
}

fn running(desk: &Desk) -> [usize; 3] {
    Class::ALL.map(|class| desk.running(class))
}

fn end(desk: &mut Desk, class: Class) -> Vec<Ticket> {
    desk.end(class, Duration::from_millis(100));
    std::iter::from_fn(|| desk.next()).collect()
}

#[test]
fn heavy_questions_leave_places_for_light_ones() {
    let mut desk = Desk::new(LIMITS);
    let heavy: Vec<_> = (0..6).map(|_| arrive(&mut desk, Heavy, "a")).collect();
    let runs: Vec<bool> = heavy.iter().map(|arrival| arrival.is_ok_and(|(_, runs)| runs)).collect();
    assert_eq!(runs, [true, true, false, false, false, false]);
    assert_eq!(arrive(&mut desk, Light, "a").map(|(_, runs)| runs), Ok(true), "beside a flood of heavy ones");
    assert_eq!(arrive(&mut desk, Light, "a").map(|(_, runs)| runs), Ok(true));
    let (waiting, runs) = arrive(&mut desk, Light, "a").expect("it may wait");
    assert!(!runs);
    assert_eq!(running(&desk), [2, 2, 0]);
    assert_eq!(end(&mut desk, Heavy), [waiting], "a light one goes first where one weighty computation runs");
    assert_eq!(running(&desk), [3, 1, 0]);
}

#[test]
fn light_questions_cannot_keep_heavy_ones_out() {
    for running_max in [1, 2, 4] {
        let mut desk = Desk::new(Limits { running_max, heavy_running_max: 1, waiting_max: 1_000 });
        let mut light = 0;
        while arrive(&mut desk, Light, "a").is_ok_and(|(_, runs)| runs) {
            light += 1;
        }
        assert_eq!(light, running_max);
        let (heavy, _) = arrive(&mut desk, Heavy, "a").expect("it waits");
        for _ in 0..10 {
            arrive(&mut desk, Light, "a").expect("it waits");
        }
        assert_eq!(end(&mut desk, Light), [heavy], "with {running_max} places");
    }
}

#[test]
fn with_one_place_the_classes_take_turns() {
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 100 });
    arrive(&mut desk, Light, "a").expect("it runs");
    for class in [Light, Light, Light, Heavy, Heavy, Heavy] {
        arrive(&mut desk, class, "a").expect("it waits");
    }
    let mut order = Vec::new();
    let mut class = Light;
    while !end(&mut desk, class).is_empty() {
        class = if desk.running(Light) == 1 { Light } else { Heavy };
        order.push(class);
    }
    assert_eq!(order, [Heavy, Light, Heavy, Light, Heavy, Light]);
}

#[test]
fn a_large_question_runs_without_heavy_ones_and_its_time_comes() {
    let mut desk = Desk::new(LIMITS);
    arrive(&mut desk, Heavy, "a").expect("it runs");
    arrive(&mut desk, Heavy, "a").expect("it runs");
    let (large, runs) = arrive(&mut desk, Large, "a").expect("it waits");
    assert!(!runs);
    let (next_heavy, _) = arrive(&mut desk, Heavy, "b").expect("it waits");
    let (next_large, _) = arrive(&mut desk, Large, "c").expect("it waits");
    assert!(end(&mut desk, Heavy).is_empty(), "no heavy one begins while a large one waits");
    assert_eq!(arrive(&mut desk, Light, "a").map(|(_, runs)| runs), Ok(true), "light ones do");
    assert_eq!(end(&mut desk, Heavy), [large]);
    assert_eq!(running(&desk), [1, 0, 1]);
    assert_eq!(end(&mut desk, Large), [next_heavy], "after a large one a heavy one goes first");
    assert_eq!(end(&mut desk, Heavy), [next_large]);
}

#[test]
fn one_project_never_fills_the_queue() {
    let mut desk = Desk::new(LIMITS);
    let flood = |desk: &mut Desk, name: &str| {
        let mut waiting = 0;
        loop {
            match arrive(desk, Heavy, name) {
                Ok((_, runs)) => waiting += usize::from(!runs),
                Err(reason) => return (waiting, reason),
            }
        }
    };
    assert_eq!(flood(&mut desk, "a"), (8, Reason::ProjectShare), "half of the queue alone");
    assert_eq!(flood(&mut desk, "b"), (4, Reason::ProjectShare), "half of what is left");
    assert!(arrive(&mut desk, Heavy, "c").is_ok(), "there is room for a third");
    assert!(arrive(&mut desk, Light, "d").is_ok_and(|(_, runs)| runs));
}

#[test]
fn what_many_ask_goes_before_what_one_asks() {
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 8 });
    let many = Party { questions: 1, in_demand: true };
    arrive(&mut desk, Light, "a").expect("it runs");
    let flood: Vec<Ticket> = (0..4).map(|_| arrive(&mut desk, Light, "a").expect("it waits").0).collect();
    assert_eq!(arrive(&mut desk, Light, "a"), Err(Reason::ProjectShare));
    let mut ask = |name: &str| match desk.arrive(Light, &project(name), many) {
        Ok(Arrival::Waits(ticket)) => Ok(ticket),
        Ok(Arrival::Runs(_)) => panic!("the one place is taken"),
        Err(reason) => Err(reason),
    };
    let first = ask("a").expect("the flood does not keep it out");
    let second = ask("a").expect("it waits behind the first");
    let other = ask("b").expect("another project's has its own turn");
    assert_eq!(ask("a"), Err(Reason::ProjectShare), "they have their share of the queue too");
    let order: Vec<Ticket> = (0..7).flat_map(|_| end(&mut desk, Light)).collect();
    assert_eq!(order, [first, other, second, flood[0], flood[1], flood[2], flood[3]]);
    assert!(end(&mut desk, Light).is_empty());
    assert!(desk.projects.is_empty());
}

#[test]
fn projects_take_turns() {
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 100 });
    arrive(&mut desk, Heavy, "a").expect("it runs");
    let flood: Vec<Ticket> = (0..3).map(|_| arrive(&mut desk, Heavy, "a").expect("it waits").0).collect();
    let (other, _) = arrive(&mut desk, Heavy, "b").expect("it waits");
    let order: Vec<Ticket> = (0..4).flat_map(|_| end(&mut desk, Heavy)).collect();
    assert_eq!(order, [flood[0], other, flood[1], flood[2]]);
}

#[test]
fn a_full_queue_refuses_and_who_gives_up_makes_room() {
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 2 });
    arrive(&mut desk, Light, "a").expect("it runs");
    let (waiting, _) = arrive(&mut desk, Light, "a").expect("it waits");
    let (other, _) = arrive(&mut desk, Light, "b").expect("it waits");
    assert_eq!(arrive(&mut desk, Light, "c"), Err(Reason::QueueFull));
    assert!(desk.give_up(Light, &project("a"), waiting));
    assert!(!desk.give_up(Light, &project("a"), waiting), "it is gone");
    let (third, _) = arrive(&mut desk, Light, "c").expect("there is room");
    assert_eq!(end(&mut desk, Light), [other]);
    assert_eq!(end(&mut desk, Light), [third]);
    assert!(end(&mut desk, Light).is_empty());
    assert_eq!((running(&desk), desk.projects.len()), ([0; 3], 0));
}

#[test]
fn without_a_queue_nobody_waits_and_a_large_batch_waits_in_an_empty_one() {
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 0 });
    arrive(&mut desk, Light, "a").expect("it runs");
    assert_eq!(arrive(&mut desk, Light, "a"), Err(Reason::QueueFull));
    let mut desk = Desk::new(Limits { running_max: 1, heavy_running_max: 1, waiting_max: 4 });
    arrive(&mut desk, Light, "a").expect("it runs");
    assert_eq!(
        desk.arrive(Light, &project("a"), Party { questions: 50, in_demand: false }),
        Ok(Arrival::Waits(1))
    );
    assert_eq!(desk.waiting(Light), 50);
    assert_eq!(arrive(&mut desk, Light, "b"), Err(Reason::QueueFull));
}

#[test]
fn a_refused_caller_comes_back_when_those_before_it_are_served() {
    let mut desk = Desk::new(Limits { running_max: 2, heavy_running_max: 2, waiting_max: 100 });
    assert_eq!(desk.retry_after_s(Heavy), 1, "nothing is known yet");
    for _ in 0..20 {
        arrive(&mut desk, Heavy, "a").expect("it runs or waits");
    }
    desk.end(Heavy, Duration::from_secs(2));
    assert!(desk.next().is_some());
    // Two run and 17 wait: 19 computations of 2 s on two places.
    assert_eq!(desk.retry_after_s(Heavy), 19);
    assert_eq!(desk.retry_after_s(Light), 1, "light ones are another queue");
    desk.end(Heavy, Duration::from_secs(1_000));
    assert_eq!(desk.retry_after_s(Heavy), 60, "never longer than a minute");
}
