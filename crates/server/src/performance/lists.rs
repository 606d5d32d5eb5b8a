//! The latest and the slowest questions of each project, a few of each.

use std::collections::VecDeque;

use hashbrown::HashMap;
use tidewater_model::names::ProjectName;
use tidewater_model::time::Timestamp;

use crate::observe::QuestionEvent;

/// The latest questions kept of a project.
const RECENT_MAX: usize = 32;
/// The slowest questions kept of a project.
const SLOWEST_MAX: usize = 16;
/// Projects whose questions are kept; past it the project that was quiet for longest goes. With a plan a question takes about 1.5 kB.
const PROJECTS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Lists {
    projects: HashMap<ProjectName, OfProject>,
}

#[derive(Debug, Default)]
struct OfProject {
    last: Timestamp,
    /// The latest last.
    recent: VecDeque<QuestionEvent>,
    /// The slowest first.
    slowest: Vec<QuestionEvent>,
}

impl Lists {
    /// Keeps a question where it is among the latest or the slowest. One that did not read is not kept.
    pub fn add(&mut self, event: &QuestionEvent) {
        let Some(about) = &event.about else { return };
        if !self.projects.contains_key(&about.project) {
            self.make_room();
        }
        let own = self.projects.entry(about.project.clone()).or_default();
        own.last = own.last.max(event.at);
        if own.recent.len() >= RECENT_MAX {
            own.recent.pop_front();
        }
        own.recent.push_back(event.clone());
        let place = own.slowest.partition_point(|slower| slower.elapsed_us >= event.elapsed_us);
        if place < SLOWEST_MAX {
            own.slowest.truncate(SLOWEST_MAX - 1);
            own.slowest.insert(place, event.clone());
        }
    }

    /// The latest of one project or of all, newest first.
    pub fn recent<'a>(&'a self, own: Option<&'a ProjectName>) -> Vec<&'a QuestionEvent> {
        let mut recent: Vec<_> = self.of(own).flat_map(|own| &own.recent).collect();
        recent.sort_by_key(|event| std::cmp::Reverse(event.at));
        recent.truncate(RECENT_MAX);
        recent
    }

    /// The slowest of one project or of all, slowest first.
    pub fn slowest<'a>(&'a self, own: Option<&'a ProjectName>) -> Vec<&'a QuestionEvent> {
        let mut slowest: Vec<_> = self.of(own).flat_map(|own| &own.slowest).collect();
        slowest.sort_by_key(|event| std::cmp::Reverse(event.elapsed_us));
        slowest.truncate(SLOWEST_MAX);
        slowest
    }

    /// Forgets one project, or all.
    pub fn forget(&mut self, own: Option<&ProjectName>) {
        match own {
            Some(own) => drop(self.projects.remove(own)),
            None => self.projects.clear(),
        }
    }

    fn of<'a>(&'a self, own: Option<&'a ProjectName>) -> impl Iterator<Item = &'a OfProject> {
        self.projects
            .iter()
            .filter(move |(project, _)| own.is_none_or(|own| own == *project))
            .map(|(_, of)| of)
    }

    fn make_room(&mut self) {
        if self.projects.len() < PROJECTS_MAX {
            return;
        }
        let quiet = self.projects.iter().min_by_key(|(_, of)| of.last).map(|(project, _)| project.clone());
        if let Some(quiet) = quiet {
            self.projects.remove(&quiet);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::observe::{About, RequestId};

    fn event(project: &str, at: i64, elapsed_us: u64) -> QuestionEvent {
        let project = ProjectName::new(project).expect("a name");
        let about = About { project, dataset: Arc::from("d"), shape: Box::from("s") };
        QuestionEvent {
            at: Timestamp(at),
            id: RequestId::any(),
            about: Some(Arc::new(about)),
            cache: None,
            problem: None,
            elapsed_us,
            is_slow: false,
            facts: None,
        }
    }

    #[test]
    fn the_latest_and_the_slowest_stay() {
        let mut lists = Lists::default();
        for n in 0..100 {
            lists.add(&event("a", n, (n as u64 * 37) % 100));
        }
        lists.add(&event("b", 50, 1_000));
        let a = ProjectName::new("a").expect("a name");
        let recent: Vec<i64> = lists.recent(Some(&a)).iter().map(|event| event.at.0).collect();
        assert_eq!(recent, (0..100).rev().take(RECENT_MAX).collect::<Vec<_>>());
        let slowest: Vec<u64> = lists.slowest(Some(&a)).iter().map(|event| event.elapsed_us).collect();
        assert_eq!(slowest, (0..100).rev().take(SLOWEST_MAX).collect::<Vec<_>>());
        assert_eq!(lists.slowest(None)[0].elapsed_us, 1_000);
        lists.forget(Some(&a));
        assert_eq!((lists.recent(None).len(), lists.recent(Some(&a)).len()), (1, 0));
    }

    #[test]
    fn the_quietest_project_makes_room() {
        let mut lists = Lists::default();
        for n in 0..PROJECTS_MAX as i64 + 1 {
            lists.add(&event(&format!("p{n}"), 100 - n, 1));
        }
        assert_eq!(lists.projects.len(), PROJECTS_MAX);
        let quietest = format!("p{}", PROJECTS_MAX - 1);
        assert!(!lists.projects.keys().any(|project| project.as_str() == quietest));
    }
}
