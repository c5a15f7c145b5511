//! Whose turn it is: of each key one message is under way at a time, in the order of the outbox.
//!
//! A key whose message was not taken rests, alone; a message without a key stands alone. Pure: time
//! comes in, as milliseconds since any moment.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use base::Backoff;
use store::{OutboxMessage, OutboxPage};

/// Messages that are known by their numbers. At the bound nothing more is read until some left: so
/// many messages of keys that rest can wait before others wait behind them.
const KNOWN_MAX: usize = 65_536;
/// Messages, and bytes of them, that are held in memory; of what is beyond, the numbers are kept,
/// and the message is read again when its turn comes.
const HELD_MAX: usize = 16_384;
const HELD_BYTES_MAX: usize = 8 << 20;
/// Messages that are with the log at the same time.
const UNDER_WAY_MAX: usize = 256;
/// Messages that are read again at a time, and those of one key among them; not before fewer keys
/// than this have their turn with a message that is held. One read for each message that the log has
/// would let a backlog grow.
const MISSING_MAX: usize = 512;
const AGAIN_MAX: usize = 16;
const ENOUGH: usize = UNDER_WAY_MAX / 2;
/// Keys, in the order of their turns, that are looked at for that.
const NEXT_MAX: usize = 2 * UNDER_WAY_MAX;
/// Rest of a key after its message was not taken.
const REST: Backoff =
    Backoff { initial: Duration::from_millis(200), factor: 2, cap: Duration::from_secs(5) };

/// Stands for a key of a topic, or for one message without a key.
pub(super) type Line = u64;

#[derive(Debug)]
struct Waiting {
    sequence: i64,
    /// None: it is to be read again.
    message: Option<OutboxMessage>,
}

#[derive(Debug)]
struct Queue {
    key: Option<(String, String)>,
    waiting: VecDeque<Waiting>,
    /// How often the first was not taken, in a row.
    failures: u32,
}

impl Queue {
    /// Whether its first message is to be read again.
    fn lacks_first(&self) -> bool {
        self.waiting.front().is_none_or(|it| it.message.is_none())
    }
}

/// A message whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) line: Line,
    pub(super) sequence: i64,
    pub(super) message: OutboxMessage,
}

/// All that was read of an outbox and has not left it.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: BTreeMap<Line, Queue>,
    lines: BTreeMap<(String, String), Line>,
    ready: VecDeque<Line>,
    resting: BTreeSet<(u64, Line)>,
    next_line: Line,
    read_to: i64,
    known: usize,
    held: usize,
    held_bytes: usize,
    under_way: usize,
}

impl Turns {
    /// The number after which to read on; none while there is enough to do, or no room.
    pub(super) fn read_after(&self) -> Option<i64> {
        let has_room = self.known < KNOWN_MAX && self.ready.len() + self.under_way < UNDER_WAY_MAX;
        has_room.then_some(self.read_to)
    }

    /// How often in a row the first message of a key was not taken.
    pub(super) fn failures(&self, line: Line) -> u32 {
        self.queues.get(&line).map_or(0, |it| it.failures)
    }

    /// Bytes of the messages that are held.
    #[cfg(test)]
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes what was read.
    pub(super) fn add(&mut self, page: OutboxPage) {
        self.read_to = self.read_to.max(page.read_to);
        for (sequence, message) in page.messages {
            let line = self.line_of(&message);
            let fits = self.held < HELD_MAX && self.held_bytes + message.bytes() <= HELD_BYTES_MAX;
            let message = fits.then_some(message);
            self.held += usize::from(fits);
            self.held_bytes += message.as_ref().map_or(0, OutboxMessage::bytes);
            self.known += 1;
            if let Some(queue) = self.queues.get_mut(&line) {
                queue.waiting.push_back(Waiting { sequence, message });
            }
        }
    }

    fn line_of(&mut self, message: &OutboxMessage) -> Line {
        let key = message.key.clone().map(|key| (message.topic.clone(), key));
        if let Some(line) = key.as_ref().and_then(|it| self.lines.get(it)) {
            return *line;
        }
        let line = self.next_line;
        self.next_line += 1;
        if let Some(key) = key.clone() {
            self.lines.insert(key, line);
        }
        let queue = Queue { key, waiting: VecDeque::new(), failures: 0 };
        self.queues.insert(line, queue);
        self.ready.push_back(line);
        line
    }

    /// Numbers of messages that are to be read again before their turn.
    pub(super) fn missing(&self) -> Vec<i64> {
        if self.known == self.held {
            return Vec::new();
        }
        let numbers = match (self.held_bytes < HELD_BYTES_MAX, self.under_way) {
            (true, _) => MISSING_MAX,
            // What is held may all be of keys that rest.
            (false, 0) => AGAIN_MAX,
            (false, _) => 0,
        };
        let next = self.ready.iter().take(NEXT_MAX).filter_map(|it| self.queues.get(it));
        let (lacking, held): (Vec<_>, Vec<_>) = next.partition(|it| it.lacks_first());
        if held.len() >= ENOUGH {
            return Vec::new();
        }
        let of_each = |it: &Queue| {
            let first = it.waiting.iter().take_while(|it| it.message.is_none()).take(AGAIN_MAX);
            first.map(|it| it.sequence).collect::<Vec<_>>()
        };
        lacking.into_iter().flat_map(of_each).take(numbers).collect()
    }

    /// Takes what was read again. What is gone from the outbox needs no turn.
    pub(super) fn fill(&mut self, mut read: BTreeMap<i64, Option<OutboxMessage>>) {
        let lines: Vec<Line> = self.ready.iter().take(NEXT_MAX).copied().collect();
        for line in lines {
            let Some(queue) = self.queues.get_mut(&line) else { continue };
            let before = queue.waiting.len();
            for waiting in queue.waiting.iter_mut().take(AGAIN_MAX) {
                let Some(message) = read.get_mut(&waiting.sequence) else { continue };
                if let Some(message) = message.take() {
                    self.held += 1;
                    self.held_bytes += message.bytes();
                    waiting.message = Some(message);
                }
            }
            queue.waiting.retain(|it| it.message.is_some() || !read.contains_key(&it.sequence));
            self.known -= before - queue.waiting.len();
            if queue.waiting.is_empty() {
                self.ready.retain(|it| *it != line);
                self.forget(line);
            }
        }
    }

    /// The next message whose turn it is. It is under way until one of the following is said of it.
    pub(super) fn start(&mut self, now: u64) -> Option<Turn> {
        while let Some((until, line)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.pop_first();
            self.ready.push_back(line);
        }
        if self.under_way >= UNDER_WAY_MAX {
            return None;
        }
        // A line whose message must be read first stays, and holds up nobody.
        let has_message = |it: &Line| self.queues.get(it).is_some_and(|it| !it.lacks_first());
        let at = self.ready.iter().position(has_message)?;
        let line = self.ready.remove(at)?;
        let queue = self.queues.get_mut(&line)?;
        let first = queue.waiting.front()?;
        let turn = Turn { line, sequence: first.sequence, message: first.message.clone()? };
        self.under_way += 1;
        Some(turn)
    }

    /// When a key that rests has its turn again.
    pub(super) fn wake(&self) -> Option<u64> {
        self.resting.first().map(|it| it.0)
    }

    /// The log has the message; gives its number.
    pub(super) fn published(&mut self, line: Line) -> Option<i64> {
        self.under_way -= 1;
        let queue = self.queues.get_mut(&line)?;
        let sequence = queue.waiting.pop_front().map(|it| self.let_go(&it))?;
        self.go_on(line);
        Some(sequence)
    }

    /// The log did not take the message: its key rests.
    pub(super) fn not_taken(&mut self, line: Line, now: u64) {
        self.under_way -= 1;
        let Some(queue) = self.queues.get_mut(&line) else { return };
        queue.failures = queue.failures.saturating_add(1);
        let rest = u64::try_from(REST.ceiling(queue.failures).as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(rest);
        // What rests has no right to the place of what could go.
        if self.held_bytes > HELD_BYTES_MAX
            && let Some(message) = queue.waiting.front_mut().and_then(|it| it.message.take())
        {
            self.held -= 1;
            self.held_bytes -= message.bytes();
        }
        self.resting.insert((until, line));
    }

    /// The message was parked: it and those behind it are no longer ours to publish.
    pub(super) fn parked(&mut self, line: Line) {
        self.under_way -= 1;
        let Some(queue) = self.queues.get_mut(&line) else { return };
        for waiting in std::mem::take(&mut queue.waiting) {
            self.let_go(&waiting);
        }
        self.forget(line);
    }

    fn go_on(&mut self, line: Line) {
        let Some(queue) = self.queues.get_mut(&line) else { return };
        queue.failures = 0;
        if queue.waiting.is_empty() {
            self.forget(line);
        } else {
            self.ready.push_back(line);
        }
    }

    /// A message leaves what is held; gives its number.
    fn let_go(&mut self, waiting: &Waiting) -> i64 {
        self.known -= 1;
        if let Some(message) = &waiting.message {
            self.held -= 1;
            self.held_bytes -= message.bytes();
        }
        waiting.sequence
    }

    fn forget(&mut self, line: Line) {
        if let Some(key) = self.queues.remove(&line).and_then(|it| it.key) {
            self.lines.remove(&key);
        }
    }
}
