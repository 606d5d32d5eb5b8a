//! Who computes now, who waits, who is refused: facts in, decisions out.
//!
//! Places are few. Heavy questions may take only some of them, so that light ones always find one that is free soon; where both
//! wait they take turns, so that light ones cannot keep heavy ones out either. Within a class projects take turns, and within a project
//! questions that many ask go before those that one asks. No clock, no lock, no waiting here: `admission` does that.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tidewater_model::names::ProjectName;

/// Shortest and longest time a refused caller is told to stay away, in seconds.
const RETRY_AFTER_S: std::ops::RangeInclusive<u64> = 1..=60;
/// Weight of the latest computation in the average time that a place is held.
const HELD_WEIGHT: f64 = 0.1;

/// What a question asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Little is to be read for it.
    Light,
    /// Much is.
    Heavy,
    /// It found the memory of all questions held by others, and now runs without other heavy ones beside it.
    Large,
}

impl Class {
    /// All, in the order of [`Class::place`].
    pub const ALL: [Class; 3] = [Class::Light, Class::Heavy, Class::Large];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        ["light", "heavy", "large"][self.place()]
    }

    /// Its place in tables.
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

/// Why a question does not get a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The queue is full.
    QueueFull,
    /// Its project holds its share of the queue.
    ProjectShare,
    /// It has waited as long as questions may.
    WaitedTooLong,
    /// Even without other heavy questions the memory of all was held by others, for as long as questions may wait.
    Memory,
}

impl Reason {
    /// All, in the order of [`Reason::place`].
    pub const ALL: [Reason; 4] =
        [Reason::QueueFull, Reason::ProjectShare, Reason::WaitedTooLong, Reason::Memory];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        ["queue_full", "project_share", "waited_too_long", "memory"][self.place()]
    }

    /// For the refused caller.
    pub fn describe(self) -> &'static str {
        match self {
            Reason::QueueFull => "too many questions are waiting",
            Reason::ProjectShare => "too many questions of this project are waiting",
            Reason::WaitedTooLong => "the question has waited as long as questions may",
            Reason::Memory => "other questions hold the memory that this one needs",
        }
    }

    /// Its place in tables.
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

/// How many questions may run and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Computations at once.
    pub running_max: usize,
    /// Of these, heavy ones.
    pub heavy_running_max: usize,
    /// Questions that wait for a place.
    pub waiting_max: usize,
}

impl Limits {
    /// At least one computation can run, and a heavy one too.
    fn sound(self) -> Self {
        let running_max = self.running_max.max(1);
        Limits { running_max, heavy_running_max: self.heavy_running_max.clamp(1, running_max), ..self }
    }
}

/// Names a computation at the desk.
pub(crate) type Ticket = u64;

/// What becomes of a computation that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Runs(Ticket),
    Waits(Ticket),
}

/// Questions of one class and project that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub questions: usize,
    /// Their answers before served others too. Such a question is computed once in a tick, whoever asks it, so those that are
    /// asked once cannot wait for long behind them.
    pub in_demand: bool,
}

/// Questions that wait, of one project.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    questions: usize,
    /// Of these, those in demand.
    in_demand: usize,
}

/// Those of one class that wait, by project.
#[derive(Debug, Default)]
struct Line {
    /// Projects with someone waiting, the next first.
    turns: VecDeque<ProjectName>,
    /// Of each project those in demand first.
    parties: HashMap<ProjectName, VecDeque<(Ticket, Party)>>,
    questions: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk {
    limits: Limits,
    next: Ticket,
    lines: [Line; 3],
    running: [usize; 3],
    /// Waiting questions by project, over all classes.
    projects: HashMap<ProjectName, Waiting>,
    /// How long a place is held on average, in seconds, by class; 0 before the first.
    held_s: [f64; 3],
    /// Who was let in last: of all, and of those that are not light.
    last: Class,
    last_weighty: Class,
}

impl Desk {
    pub fn new(limits: Limits) -> Self {
        Desk {
            limits: limits.sound(),
            next: 0,
            lines: Default::default(),
            running: [0; 3],
            projects: HashMap::new(),
            held_s: [0.0; 3],
            last: Class::Heavy,
            last_weighty: Class::Heavy,
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Computations that run.
    pub fn running(&self, class: Class) -> usize {
        self.running[class.place()]
    }

    /// Questions that wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.lines[class.place()].questions
    }

    /// Questions of a project that are computed together want a place.
    pub fn arrive(&mut self, class: Class, project: &ProjectName, party: Party) -> Result<Arrival, Reason> {
        let (ticket, questions) = (self.next, party.questions);
        if self.lines[class.place()].questions == 0 && self.is_open(class) {
            self.next += 1;
            self.enter(class);
            return Ok(Arrival::Runs(ticket));
        }
        let waiting: usize = self.lines.iter().map(|line| line.questions).sum();
        let own = self.projects.get(project).copied().unwrap_or_default();
        // What one asks keeps nobody out who asks what many do.
        let own = if party.in_demand { own.in_demand } else { own.questions };
        let free = self.limits.waiting_max.saturating_sub(waiting);
        // Together they are one request, which may be larger than the queue: it waits in an empty one.
        if free < questions && (free == 0 || waiting > 0) {
            return Err(Reason::QueueFull);
        }
        // Choudhury and Hahne 1998: nobody holds more than what is free, so that there is room for those who come next, however
        // many flood the queue. One project alone gets half of it.
        if own > 0 && own + questions > free {
            return Err(Reason::ProjectShare);
        }
        self.next += 1;
        self.projects.entry(project.clone()).or_default().add(party);
        self.lines[class.place()].push(project, ticket, party);
        Ok(Arrival::Waits(ticket))
    }

    /// A waiting computation is given up; false where it does not wait.
    pub fn give_up(&mut self, class: Class, project: &ProjectName, ticket: Ticket) -> bool {
        let Some(party) = self.lines[class.place()].remove(project, ticket) else { return false };
        self.forget(project, party);
        true
    }

    /// A computation has ended that held its place for so long.
    pub fn end(&mut self, class: Class, held: Duration) {
        let running = &mut self.running[class.place()];
        *running = running.saturating_sub(1);
        let average = &mut self.held_s[class.place()];
        let held_s = held.as_secs_f64();
        *average = if *average == 0.0 { held_s } else { *average + (held_s - *average) * HELD_WEIGHT };
    }

    /// Lets the next one in, if there is a place for it.
    pub fn next(&mut self) -> Option<Ticket> {
        let class = self.next_class()?;
        let (project, ticket, party) = self.lines[class.place()].pop()?;
        self.forget(&project, party);
        self.enter(class);
        Some(ticket)
    }

    /// Seconds after which those who wait in this class now will have been served, as far as the past tells.
    pub fn retry_after_s(&self, class: Class) -> u64 {
        let places = match class {
            Class::Light => self.limits.running_max,
            Class::Heavy => self.limits.heavy_running_max,
            Class::Large => 1,
        };
        // Who is refused comes after those who wait and who run.
        let ahead = (self.waiting(class) + self.running(class)) as f64;
        let drained_s = ahead * self.held_s[class.place()] / places as f64;
        (drained_s.ceil() as u64).clamp(*RETRY_AFTER_S.start(), *RETRY_AFTER_S.end())
    }

    fn next_class(&self) -> Option<Class> {
        let waits = |class: Class| self.waiting(class) > 0;
        let weighty =
            [Class::Heavy, Class::Large].into_iter().filter(|class| waits(*class) && self.is_open(*class));
        // While a large one waits, no heavy one begins, so that its time comes; after it they go first.
        let preferred = if self.last_weighty == Class::Large { Class::Heavy } else { Class::Large };
        let weighty = weighty.max_by_key(|class| *class == preferred);
        let light = (waits(Class::Light) && self.is_open(Class::Light)).then_some(Class::Light);
        match (light, weighty) {
            // One weighty computation runs even where light ones never end; more than one only when no light one waits.
            (Some(light), Some(weighty)) => {
                let is_owed = self.weighty_running() == 0 && self.last == Class::Light;
                Some(if is_owed { weighty } else { light })
            }
            (light, weighty) => light.or(weighty),
        }
    }

    fn weighty_running(&self) -> usize {
        self.running(Class::Heavy) + self.running(Class::Large)
    }

    /// Whether one more of the class may run, whoever else waits.
    fn is_open(&self, class: Class) -> bool {
        let Limits { running_max, heavy_running_max, .. } = self.limits;
        let has_place = self.running.iter().sum::<usize>() < running_max;
        has_place
            && match class {
                Class::Light => true,
                Class::Heavy => {
                    let large_first = self.waiting(Class::Large) > 0 && self.last_weighty != Class::Large;
                    !large_first
                        && self.running(Class::Large) == 0
                        && self.running(Class::Heavy) < heavy_running_max
                }
                Class::Large => self.weighty_running() == 0,
            }
    }

    fn enter(&mut self, class: Class) {
        self.running[class.place()] += 1;
        self.last = class;
        if class != Class::Light {
            self.last_weighty = class;
        }
    }

    fn forget(&mut self, project: &ProjectName, party: Party) {
        if let Some(waiting) = self.projects.get_mut(project) {
            waiting.remove(party);
            if waiting.questions == 0 {
                self.projects.remove(project);
            }
        }
    }
}

impl Waiting {
    fn add(&mut self, party: Party) {
        self.questions += party.questions;
        self.in_demand += if party.in_demand { party.questions } else { 0 };
    }

    fn remove(&mut self, party: Party) {
        self.questions -= party.questions.min(self.questions);
        self.in_demand -= if party.in_demand { party.questions.min(self.in_demand) } else { 0 };
    }
}

impl Line {
    fn push(&mut self, project: &ProjectName, ticket: Ticket, party: Party) {
        self.questions += party.questions;
        let parties = self.parties.entry(project.clone()).or_default();
        if parties.is_empty() {
            self.turns.push_back(project.clone());
        }
        let place = if party.in_demand {
            parties.partition_point(|(_, other)| other.in_demand)
        } else {
            parties.len()
        };
        parties.insert(place, (ticket, party));
    }

    /// The first of the project whose turn it is.
    fn pop(&mut self) -> Option<(ProjectName, Ticket, Party)> {
        let project = self.turns.pop_front()?;
        let parties = self.parties.get_mut(&project)?;
        let (ticket, party) = parties.pop_front()?;
        self.questions -= party.questions;
        if parties.is_empty() {
            self.parties.remove(&project);
        } else {
            self.turns.push_back(project.clone());
        }
        Some((project, ticket, party))
    }

    fn remove(&mut self, project: &ProjectName, ticket: Ticket) -> Option<Party> {
        let parties = self.parties.get_mut(project)?;
        let place = parties.iter().position(|(other, _)| *other == ticket)?;
        let (_, party) = parties.remove(place)?;
        self.questions -= party.questions;
        if parties.is_empty() {
            self.parties.remove(project);
            self.turns.retain(|other| other != project);
        }
        Some(party)
    }
}

#[cfg(test)]
mod tests;
