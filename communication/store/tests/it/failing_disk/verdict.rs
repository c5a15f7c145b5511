//! What a process said, held against what is in its files.

use std::{collections::BTreeMap, path::Path};

use store::{OperationState, Store, WriteError};

use tokio::task::JoinSet;

use super::child::{self, MARK, Refusal, book, refuses};

/// What was said of one booking.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    acknowledged: bool,
    unknown: bool,
    not_done: u32,
}

/// All that was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    fates: BTreeMap<u32, Fate>,
    /// Bookings below this were made before: all but those that refuse are there.
    before: u32,
    /// Lines that break a promise on their own.
    broken: Vec<String>,
    pub(super) ended: bool,
    /// Why it did not open its file.
    pub(super) closed: Option<String>,
    /// How many bookings were not done at their first try.
    pub(super) not_done: u32,
    pub(super) unknown: u32,
    pub(super) acknowledged: u32,
    /// Reads that failed.
    pub(super) unread: u32,
}

impl Said {
    pub(super) fn of(before: u32, lines: impl Iterator<Item = String>) -> Self {
        let mut said = Self { before, ..Self::default() };
        for line in lines {
            said.hear(line.strip_prefix(MARK).unwrap_or(""));
        }
        said
    }

    fn hear(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let Some(Ok(booking)) = words.next().map(str::parse::<u32>) else { return };
        let (word, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let fate = self.fates.entry(booking).or_default();
        let before = *fate;
        match word {
            "fresh" | "replayed" => fate.acknowledged = true,
            "unknown" => fate.unknown = true,
            "not-done" => fate.not_done += 1,
            "unread" => self.unread += 1,
            "end" => self.ended = true,
            "closed" => self.closed = Some(rest.to_owned()),
            "refused" | "halves" | "held" | "let-go" => {}
            _ => self.broken.push(line.to_owned()),
        }
        let holds = match word {
            // Repeated after "not done" it is done for the first time.
            "replayed" => before.unknown,
            "refused" => refuses(booking),
            "halves" => rest == if refuses(booking) { "0" } else { "2" },
            _ => true,
        };
        if !holds {
            self.broken.push(format!("{line}, after {before:?}"));
        }
        self.not_done += u32::from(word == "not-done" && before.not_done == 0);
        self.unknown += u32::from(word == "unknown" && !before.unknown);
        self.acknowledged += u32::from(fate.acknowledged && !before.acknowledged);
    }

    /// Bookings below this may be in the file.
    fn bookings(&self) -> u32 {
        // Each caller may be at one that it has not said anything of.
        self.fates.keys().last().map_or(0, |it| it + 1).max(self.before) + 8
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("\n")) }
    }

    /// Holds it against the files in `directory`, and repeats every booking there.
    pub(super) async fn check_files(&self, directory: &Path) -> Result<(), String> {
        let store = child::open(directory).map_err(|it| format!("not opened: {it:?}"))?;
        let integrity = store
            .read(|it| it.query_all("PRAGMA integrity_check", &[], |row| row.get::<String>(0)));
        let integrity = integrity.await.map_err(|it| format!("integrity: {it:?}"))?;
        if integrity != ["ok"] {
            return Err(format!("integrity: {integrity:?}"));
        }
        let mut repeats = JoinSet::new();
        for booking in 0..self.bookings() {
            let is_there = parts(&store, booking).await?;
            self.check_one(booking, is_there)?;
            let store = store.clone();
            repeats.spawn(async move { repeat(&store, booking, is_there).await });
        }
        repeats.join_all().await.into_iter().collect::<Result<(), _>>()?;
        let doubled = store.read(|it| it.doubled_effects()).await;
        if doubled != Ok(Vec::new()) {
            return Err(format!("doubled: {doubled:?}"));
        }
        Ok(())
    }

    fn check_one(&self, booking: u32, is_there: bool) -> Result<(), String> {
        let fate = self.fates.get(&booking).copied().unwrap_or_default();
        // After one "not done" the second try may be under way.
        let is_absent = refuses(booking) || (fate.not_done == 2 && !fate.unknown);
        let is_kept = fate.acknowledged || (booking < self.before && !refuses(booking));
        match is_there {
            true if is_absent => Err(format!("{booking} is there: {fate:?}")),
            false if is_kept => Err(format!("{booking} is lost: {fate:?}")),
            true | false => Ok(()),
        }
    }
}

/// Whether a booking is in the file, where it is whole.
async fn parts(store: &Store, booking: u32) -> Result<bool, String> {
    let counts = store.read(move |reader| {
        let count =
            |sql, of: &dyn store::ToValue| reader.query_one(sql, &[of], |row| row.get::<u32>(0));
        Ok([
            count("SELECT COUNT(*) FROM halves WHERE booking = ?1", &booking)?,
            count(
                "SELECT COUNT(*) FROM skein_outbox WHERE id = ?1",
                &format!("bookings/{booking}"),
            )?,
            count(
                "SELECT COALESCE(SUM(effects), 0) FROM skein_operations WHERE saga = ?1",
                &format!("s{booking}"),
            )?,
        ])
    });
    match counts.await {
        Ok([0, 0, 0]) => Ok(false),
        Ok([2, 1, 1]) => Ok(true),
        other => Err(format!("{booking} is not whole: halves, messages, effects: {other:?}")),
    }
}

async fn repeat(store: &Store, booking: u32, is_there: bool) -> Result<(), String> {
    let again = book(store, booking).await;
    let holds = match &again {
        Ok(OperationState::Fresh) => !is_there,
        Ok(OperationState::Replayed(_)) => is_there,
        Err(WriteError::Refused(Refusal::Meant)) => refuses(booking),
        Ok(_) | Err(_) => false,
    };
    if !holds || parts(store, booking).await? == refuses(booking) {
        return Err(format!("{booking} repeated, there before: {is_there}: {again:?}"));
    }
    Ok(())
}
