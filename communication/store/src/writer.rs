//! The one thread of a process that writes: takes what waits, commits it as a group, answers.
//!
//! A group is whatever queued up while the last one was being synced. While groups hold more than one
//! write, others are on their way: each then waits a moment for them (`PostgreSQL`'s `commit_delay`, asked
//! of the last group instead of `commit_siblings`). Who writes alone never waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use base::SharedClock;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::{
    connection::{LogCare, LogMeter, Opener, Patience, Turnstile},
    copying::{Copy, Copying, progress},
    error::{Applied, SqlError, Unavailable, WriteError},
    leftover,
    metrics::StoreMetrics,
    query::{Moment, Transaction},
    settings::StoreSettings,
};

/// What is left of a closure once it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is part of the group.
    Keep,
    /// It refused, or panicked: it alone is undone.
    Undo,
}

/// Why a whole group was not acknowledged.
#[derive(Debug, Clone)]
pub(crate) enum GroupFailure {
    Unavailable(Unavailable),
    Failed(String, Applied),
}

impl GroupFailure {
    fn of(error: &SqlError, applied: Applied) -> Self {
        match (error, applied) {
            (SqlError::Locked, Applied::No) => Self::Unavailable(Unavailable::Locked),
            (SqlError::Full, Applied::No) => Self::Unavailable(Unavailable::Full),
            (SqlError::Io { .. } | SqlError::Damaged { .. }, Applied::No) => {
                Self::Unavailable(Unavailable::Disk)
            }
            (other, applied) => Self::Failed(other.to_string(), applied),
        }
    }
}

/// A closure with its answer.
pub(crate) trait Job: Send {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Verdict;
    fn answer(self: Box<Self>, committed: Result<(), GroupFailure>, retry_after: Duration);
}

/// One write.
pub(crate) struct Write<T, E, F> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
}

impl<T, E, F> Write<T, E, F> {
    pub(crate) const fn new(closure: F, reply: oneshot::Sender<Result<T, WriteError<E>>>) -> Self {
        Self { closure: Some(closure), result: None, reply }
    }
}

impl<T: Send, E: Send, F> Job for Write<T, E, F>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Verdict {
        let Some(closure) = self.closure.take() else { return Verdict::Undo };
        // What a panic leaves half done is undone with the savepoint.
        self.result = catch_unwind(AssertUnwindSafe(|| closure(transaction))).ok();
        if matches!(self.result, Some(Ok(_))) { Verdict::Keep } else { Verdict::Undo }
    }

    fn answer(self: Box<Self>, committed: Result<(), GroupFailure>, retry_after: Duration) {
        let result = match (self.result, committed) {
            (_, Err(GroupFailure::Unavailable(reason))) => {
                Err(WriteError::Unavailable { reason, retry_after })
            }
            (Some(Ok(_)), Err(GroupFailure::Failed(message, applied))) => {
                Err(WriteError::Failed { message, applied })
            }
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(WriteError::Refused(error)),
            (None, _) => {
                let message = "the closure panicked".to_owned();
                Err(WriteError::Failed { message, applied: Applied::No })
            }
        };
        // Whoever asked may have stopped waiting; the write counts all the same.
        drop(self.reply.send(result));
    }
}

/// The thread's belongings.
pub(crate) struct Writer {
    pub(crate) opener: Opener,
    pub(crate) connection: Connection,
    pub(crate) patience: Patience,
    pub(crate) log: LogMeter,
    pub(crate) turnstile: Turnstile,
    pub(crate) settings: StoreSettings,
    pub(crate) boot_id: Arc<str>,
    pub(crate) clock: SharedClock,
    pub(crate) pushes: watch::Sender<u64>,
    pub(crate) metrics: StoreMetrics,
    /// Tells the checkpointer that the log has grown. Holds one note: a second says nothing new.
    pub(crate) grown: mpsc::Sender<()>,
    /// Shared with the checkpointer.
    pub(crate) copying: Arc<Mutex<Copying>>,
}

impl Writer {
    /// Works until every handle of the store is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let group_max = self.settings.group_max.get();
        let mut group = Vec::with_capacity(group_max);
        // A failed disk: the connection must be made anew before anything is acknowledged.
        let mut broken = false;
        let mut had_company = false;
        while queue.blocking_recv_many(&mut group, group_max) > 0 {
            if had_company {
                self.await_company(&mut queue, &mut group);
            }
            had_company = group.len() > 1;
            if broken && let Err(reason) = self.reopen() {
                tracing::error!(path = %self.opener.path.display(), error = %reason, "the store stays closed");
                self.fail(&mut group, &GroupFailure::of(&reason, Applied::No));
                continue;
            }
            broken = self.commit(&mut group);
            self.mind_the_log();
        }
        if !broken {
            self.leave();
        }
    }

    /// Waits once, so that nobody who comes has to wake this thread, and takes what came.
    fn await_company(
        &self,
        queue: &mut mpsc::Receiver<Box<dyn Job>>,
        group: &mut Vec<Box<dyn Job>>,
    ) {
        let wait = Duration::from_micros(u64::from(self.settings.group_wait_us));
        let room = self.settings.group_max.get().saturating_sub(group.len());
        if wait.is_zero() || room == 0 {
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the store's own thread, none of the runtime"
        )]
        thread::sleep(wait);
        group.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
    }

    fn retry_after(&self) -> Duration {
        Duration::from_millis(self.settings.retry_after_ms)
    }

    fn fail(&self, group: &mut Vec<Box<dyn Job>>, failure: &GroupFailure) {
        self.metrics.failures.inc();
        for job in group.drain(..) {
            job.answer(Err(failure.clone()), self.retry_after());
        }
    }

    /// Commits a group and answers. Gives whether the connection is broken.
    fn commit(&self, group: &mut Vec<Box<dyn Job>>) -> bool {
        let started = Instant::now();
        let outcome = self.begin().and_then(|()| self.run_all(group));
        let (pushed, verdicts) = match outcome {
            Ok(ran) => ran,
            Err(error) => return self.give_up(group, &error, Applied::No),
        };
        if verdicts.iter().all(|it| *it == Verdict::Undo) {
            // Nothing to keep: no sync for a refusal.
            let ended = self.execute("ROLLBACK");
            for job in group.drain(..) {
                job.answer(Ok(()), self.retry_after());
            }
            return ended.is_err();
        }
        if let Err(error) = self.execute("COMMIT") {
            return self.give_up(group, &error, Applied::Unknown);
        }
        self.metrics.commit_duration.observe_duration(started.elapsed());
        self.metrics.commits.inc();
        self.metrics.writes.add(u64::try_from(group.len()).unwrap_or(0));
        if pushed {
            self.pushes.send_modify(|it| *it += 1);
        }
        for job in group.drain(..) {
            job.answer(Ok(()), self.retry_after());
        }
        false
    }

    fn begin(&self) -> Result<(), SqlError> {
        self.patience.set(Duration::from_millis(u64::from(self.settings.lock_wait_ms.get())));
        // Whether the turn came or not: the lock decides, the turn only makes it fair.
        let turn = self.turnstile.enter();
        let begun = self.execute("BEGIN IMMEDIATE");
        drop(turn);
        begun
    }

    fn run_all(&self, group: &mut [Box<dyn Job>]) -> Result<(bool, Vec<Verdict>), SqlError> {
        let mut pushed = false;
        let mut verdicts = Vec::with_capacity(group.len());
        for job in group {
            self.execute("SAVEPOINT skein_write")?;
            let moment = Moment {
                now: self.clock.now(),
                monotonic: self.clock.monotonic(),
                boot_id: &self.boot_id,
            };
            let mut transaction = Transaction::new(&self.connection, moment);
            let verdict = job.run(&mut transaction);
            if let Some(fault) = transaction.take_fault() {
                // The machine failed, not the closure: what the closure made of it does not count.
                return Err(fault);
            }
            match verdict {
                Verdict::Keep => pushed |= transaction.has_pushed(),
                Verdict::Undo => self.execute("ROLLBACK TO skein_write")?,
            }
            self.execute("RELEASE skein_write")?;
            verdicts.push(verdict);
        }
        Ok((pushed, verdicts))
    }

    /// Answers a group that cannot be kept. Gives whether the connection is broken.
    fn give_up(&self, group: &mut Vec<Box<dyn Job>>, error: &SqlError, applied: Applied) -> bool {
        let rolled_back = self.connection.is_autocommit() || self.execute("ROLLBACK").is_ok();
        let applied = if applied == Applied::Unknown && rolled_back && self.left_nothing() {
            Applied::No
        } else {
            applied
        };
        tracing::warn!(path = %self.opener.path.display(), %error, ?applied, "a group was not committed");
        self.fail(group, &GroupFailure::of(error, applied));
        // What may come back must be gone from the log before others are told that theirs does not.
        !rolled_back
            || applied == Applied::Unknown
            || matches!(error, SqlError::Io { .. } | SqlError::Damaged { .. })
    }

    /// Whether nothing of the commit that has just failed can come back.
    fn left_nothing(&self) -> bool {
        let frames = progress(&self.connection).map(|it| u64::try_from(it.committed));
        let frames = frames.ok().and_then(Result::ok);
        let may = frames.map(|it| leftover::may_come_back(&self.opener.log(), it));
        matches!(may, Some(Ok(false)))
    }

    /// After a failed disk: a log file whose sync failed may hold pages that never reached the
    /// disk and will not be written again. Copying the whole log into the database and syncing
    /// that makes the file trustworthy, or fails.
    fn reopen(&mut self) -> Result<(), SqlError> {
        let (connection, patience, log) = self.opener.metered_writer()?;
        (self.connection, self.patience, self.log) = (connection, patience, log);
        let mut copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        copying.copy(&self.connection, Copy::Empty)
    }

    /// Leaves a log that is empty, if nobody is in the way.
    fn leave(&self) {
        self.patience.set(Duration::ZERO);
        let mut copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = copying.copy(&self.connection, Copy::Empty) {
            tracing::debug!(%error, "the log stays for who opens the file next");
        }
    }

    /// Keeps the log from growing: tells the checkpointer, or makes room itself.
    fn mind_the_log(&mut self) {
        let StoreSettings { checkpoint_bytes, log_bytes_max, .. } = self.settings;
        match self.log.care(checkpoint_bytes, log_bytes_max) {
            LogCare::Nothing => {}
            // A full channel holds the same note already.
            LogCare::Copying => {
                self.grown.try_send(()).ok();
            }
            LogCare::Restarting => {
                // Who copies now makes room as well.
                let Ok(mut copying) = self.copying.try_lock() else { return };
                match copying.copy(&self.connection, Copy::Restart) {
                    Ok(()) => {}
                    Err(SqlError::Locked) => tracing::debug!("somebody holds the log"),
                    Err(error) => {
                        tracing::warn!(path = %self.opener.path.display(), %error, "the log was not copied");
                    }
                }
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<(), SqlError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(SqlError::of)?;
        let mut rows = statement.raw_query();
        while rows.next().map_err(SqlError::of)?.is_some() {}
        Ok(())
    }
}

/// Copies the log into the database whenever it has grown, on a thread that nobody waits for.
pub(crate) fn checkpoint(opener: &Opener, copying: &Mutex<Copying>, mut grown: mpsc::Receiver<()>) {
    let mut connection = None;
    while grown.blocking_recv().is_some() {
        if let Err(error) = copy_behind(opener, copying, &mut connection) {
            tracing::warn!(path = %opener.path.display(), %error, "the log was not copied");
        }
    }
}

/// Copies with the connection that is kept, and keeps none that has failed: the next one is opened anew.
fn copy_behind(
    opener: &Opener,
    copying: &Mutex<Copying>,
    kept: &mut Option<Connection>,
) -> Result<(), SqlError> {
    let mut copying = copying.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = match kept.take() {
        Some(connection) => connection,
        None => opener.writer()?.0,
    };
    match copying.copy(&connection, Copy::Passive) {
        // Locked: somebody else copies, or reads what is old; the next note comes.
        Ok(()) | Err(SqlError::Locked) => {
            *kept = Some(connection);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_copies_opens_the_file_anew_after_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 20 };
        let (writer, _patience) = opener.writer().unwrap();
        writer.execute_batch("CREATE TABLE a (b)").unwrap();
        // As `SQLite` opens a file of which it can only read.
        let copying = Mutex::new(Copying::beside(&opener.path).unwrap());
        let mut kept = Some(opener.reader().unwrap());
        let failed = copy_behind(&opener, &copying, &mut kept);
        assert!(matches!(failed, Err(SqlError::Io { .. })), "{failed:?}");
        copy_behind(&opener, &copying, &mut kept).unwrap();
        assert!(kept.is_some());
    }

    #[test]
    fn a_log_that_was_copied_is_not_copied_again_before_it_has_grown_as_much_again() {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 30 };
        let (writer, _patience, mut log) = opener.metered_writer().unwrap();
        writer.execute_batch("CREATE TABLE a (b)").unwrap();
        let (copied, checkpointer) = (40 * 1_048, opener.writer().unwrap().0);
        let mut copies = Vec::new();
        for number in 1..=200 {
            writer.execute_batch("INSERT INTO a VALUES (zeroblob(4))").unwrap();
            match log.care(copied, 1 << 30) {
                LogCare::Nothing => {}
                LogCare::Restarting => panic!("it is short"),
                LogCare::Copying => {
                    copies.push(number);
                    let copy = "PRAGMA wal_checkpoint(PASSIVE)";
                    checkpointer.query_row(copy, [], |_| Ok(())).unwrap();
                }
            }
        }
        // Each write is one page and some are two; the file has had its full length from the first copy on.
        assert!((4..=6).contains(&copies.len()), "{copies:?}");
        assert_eq!(log.care(copied, 1), LogCare::Restarting);
    }

    #[test]
    fn what_a_savepoint_would_take_back_is_kept_in_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 20 };
        let (writer, _patience) = opener.writer().unwrap();
        let stored: i64 = writer.query_row("PRAGMA temp_store", [], |row| row.get(0)).unwrap();
        assert_eq!(stored, 2, "in memory");
    }

    #[test]
    fn a_log_that_a_reader_holds_is_copied_in_parts_of_the_same_length() {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 30 };
        let (writer, _patience, mut log) = opener.metered_writer().unwrap();
        writer.execute_batch("CREATE TABLE a (b); INSERT INTO a VALUES (1)").unwrap();
        let reader = opener.reader().unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM a").unwrap();
        let cares = (0..200).map(|_| {
            writer.execute_batch("UPDATE a SET b = b + 1").unwrap();
            log.care(50 * 1_048, 1 << 30)
        });
        assert_eq!(cares.filter(|it| *it == LogCare::Copying).count(), 4);
    }
}
