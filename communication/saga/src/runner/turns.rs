//! Calls that wait their turn: in order for each service, the services in turn. One that is slow
//! holds up nobody else, and none is asked more at a time than it serves: what it would refuse as
//! too much is a failed attempt, a record, and another call.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

/// A saga that wants to call, and the epoch under which it planned to.
pub(crate) type Planned = (Arc<str>, u64);

/// Planned calls, and how many are in flight.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lines: BTreeMap<Arc<str>, Line>,
    in_flight: usize,
    /// The service whose turn was the last.
    last: Arc<str>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Planned>,
    in_flight: usize,
}

impl Turns {
    /// Puts a call at the end of its service's line.
    pub(crate) fn plan(&mut self, service: &str, planned: Planned) {
        self.line(service).waiting.push_back(planned);
    }

    /// The next call, while fewer than `max` are in flight and fewer than `each_max` at its service.
    pub(crate) fn next(&mut self, max: usize, each_max: usize) -> Option<Planned> {
        if self.in_flight >= max {
            return None;
        }
        let behind = self.lines.range::<str, _>((Excluded(&*self.last), Unbounded));
        let before = self.lines.range::<str, _>((Unbounded, Included(&*self.last)));
        let has_turn = |line: &Line| line.in_flight < each_max && !line.waiting.is_empty();
        let (service, _) = behind.chain(before).find(|(_, line)| has_turn(line))?;
        self.last = Arc::clone(service);
        self.lines.get_mut(&self.last)?.waiting.pop_front()
    }

    /// A call was made.
    pub(crate) fn started(&mut self, service: &str) {
        self.in_flight += 1;
        self.line(service).in_flight += 1;
    }

    /// A call ended.
    pub(crate) fn ended(&mut self, service: &str) {
        self.in_flight -= 1;
        self.line(service).in_flight -= 1;
    }

    /// Calls in flight.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn line(&mut self, service: &str) -> &mut Line {
        if !self.lines.contains_key(service) {
            self.lines.insert(service.into(), Line::default());
        }
        self.lines.get_mut(service).expect("it was just put there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts what may be started; gives the sagas in order.
    fn start(turns: &mut Turns, max: usize, each_max: usize) -> String {
        let mut started = Vec::new();
        while let Some((saga, _)) = turns.next(max, each_max) {
            turns.started(&saga[..1]);
            started.push(saga.to_string());
        }
        started.join(" ")
    }

    fn turns(sagas: &[&str]) -> Turns {
        let mut turns = Turns::default();
        for saga in sagas {
            turns.plan(&saga[..1], ((*saga).into(), 1));
        }
        turns
    }

    #[test]
    fn services_take_turns_and_each_keeps_its_order() {
        let mut turns = turns(&["a1", "a2", "a3", "b1", "c1", "c2"]);
        assert_eq!(start(&mut turns, 9, 9), "a1 b1 c1 a2 c2 a3");
    }

    #[test]
    fn a_service_that_is_full_holds_up_nobody_else() {
        let mut turns = turns(&["a1", "a2", "a3", "b1", "b2"]);
        assert_eq!(start(&mut turns, 9, 2), "a1 b1 a2 b2");
        turns.ended("b");
        assert_eq!(start(&mut turns, 9, 2), "");
        turns.ended("a");
        assert_eq!(start(&mut turns, 9, 2), "a3");
    }

    #[test]
    fn all_together_are_bounded() {
        let mut turns = turns(&["a1", "b1", "c1"]);
        assert_eq!(start(&mut turns, 2, 9), "a1 b1");
        assert_eq!(turns.in_flight(), 2);
        turns.ended("a");
        assert_eq!(start(&mut turns, 2, 9), "c1");
    }
}
