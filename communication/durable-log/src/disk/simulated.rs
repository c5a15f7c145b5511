//! A disk that fails as real ones do: unsynced writes are lost, torn or kept at random when the
//! power goes, names without a sync of the directory too; syncs fail; space runs out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use base::Random;

use super::{Disk, DiskFile};

#[derive(Debug, Default, Clone)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// Bytes that the medium does not give.
    unreadable: Option<Range<u64>>,
}

#[derive(Debug, Default)]
struct Faults {
    operations: u64,
    power_off_at: Option<u64>,
    fails_at: Option<u64>,
    syncs: u64,
    sync_fails_at: Option<u64>,
    name_syncs: u64,
    names_fail_at: Option<u64>,
    full: bool,
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Debug, Default)]
struct Machine {
    names: Names,
    durable_names: Names,
    faults: Faults,
}

/// A simulated directory; clones share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Machine>>);

#[derive(Debug)]
struct SimulatedFile {
    machine: Arc<Mutex<Machine>>,
    content: Arc<Mutex<Content>>,
}

impl Faults {
    /// Counts one operation; from the one that the power goes at, every one fails. One that fails
    /// alone did nothing but a sync, which marked the pages clean.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        let off = self.power_off_at.is_some_and(|it| self.operations >= it);
        let fails = self.fails_at == Some(self.operations);
        if off || fails { Err(io::Error::other("the operation failed")) } else { Ok(()) }
    }
}

impl SimulatedDisk {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap()
    }

    pub(crate) fn power_off_at(&self, operation: u64) {
        self.machine().faults.power_off_at = Some(operation);
    }

    /// The same, counted from now.
    pub(crate) fn power_off_after(&self, operations: u64) {
        let faults = &mut self.machine().faults;
        faults.power_off_at = Some(faults.operations + operations);
    }

    pub(crate) fn is_off(&self) -> bool {
        let faults = &self.machine().faults;
        faults.power_off_at.is_some_and(|it| faults.operations >= it)
    }

    /// The sync with that number, counted from now, fails once.
    pub(crate) fn fail_sync(&self, number: u64) {
        let faults = &mut self.machine().faults;
        faults.sync_fails_at = Some(faults.syncs + number);
    }

    /// The sync of the names with that number, counted from now, fails once; the names reached the
    /// disk or did not.
    pub(crate) fn fail_names(&self, number: u64) {
        let faults = &mut self.machine().faults;
        faults.names_fail_at = Some(faults.name_syncs + number);
    }

    /// The operation with that number, counted from the first, fails once.
    pub(crate) fn fail_operation(&self, number: u64) {
        self.machine().faults.fails_at = Some(number);
    }

    /// The next one does.
    pub(crate) fn fail_next_operation(&self) {
        let faults = &mut self.machine().faults;
        faults.fails_at = Some(faults.operations + 1);
    }

    /// Nothing fails from now on.
    pub(crate) fn heal(&self) {
        let faults = &mut self.machine().faults;
        (faults.sync_fails_at, faults.names_fail_at, faults.fails_at) = (None, None, None);
        faults.full = false;
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.machine().faults.full = full;
    }

    /// What is found after the power came back.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Self {
        let machine = self.machine();
        let mut names = Names::new();
        let all: BTreeSet<_> = machine.names.keys().chain(machine.durable_names.keys()).collect();
        for name in all {
            let (old, new) = (machine.durable_names.get(name), machine.names.get(name));
            let chosen = if random.below(2) == 0 { old } else { new };
            if let Some(content) = chosen {
                let survived = Arc::new(Mutex::new(content.lock().unwrap().survive(random)));
                names.insert(name.clone(), survived);
            }
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(Machine { names, durable_names, faults: Faults::default() })))
    }

    /// Changes bytes of a file in place, as a failing medium does.
    pub(crate) fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let machine = self.machine();
        let mut content = machine.names[name].lock().unwrap();
        change(&mut content.current);
        content.durable = content.current.clone();
    }

    /// Reads that touch those bytes of a file fail.
    pub(crate) fn fail_reads(&self, name: &str, range: Range<u64>) {
        self.machine().names[name].lock().unwrap().unreadable = Some(range);
    }

    /// The same files on another disk.
    pub(crate) fn copy(&self) -> Self {
        let machine = self.machine();
        let copied = machine.names.iter().map(|(name, content)| {
            let content = content.lock().unwrap().current.clone();
            (name.clone(), Arc::new(Mutex::new(Content::durable(content))))
        });
        let names: Names = copied.collect();
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(Machine { names, durable_names, faults: Faults::default() })))
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.machine().names[name].lock().unwrap().current.clone()
    }
}

impl Content {
    fn durable(bytes: Vec<u8>) -> Self {
        Self { current: bytes.clone(), durable: bytes, pending: Vec::new(), unreadable: None }
    }

    fn apply(bytes: &mut Vec<u8>, position: usize, written: &[u8]) {
        if bytes.len() < position + written.len() {
            bytes.resize(position + written.len(), 0);
        }
        bytes[position..position + written.len()].copy_from_slice(written);
    }

    /// Each write since the last sync is kept, lost, or kept up to some byte.
    fn survive(&self, random: &mut Random) -> Self {
        let mut bytes = self.durable.clone();
        for (position, written) in &self.pending {
            let kept = match random.below(3) {
                0 => 0,
                1 => written.len(),
                _ => usize::try_from(random.below(written.len() as u64 + 1)).unwrap(),
            };
            Self::apply(&mut bytes, *position, &written[..kept]);
        }
        Self::durable(bytes)
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.machine().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let machine = self.machine();
        let content = machine.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { machine: Arc::clone(&self.0), content: Arc::clone(content) }))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.faults.operate()?;
        if machine.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; usize::try_from(bytes).unwrap()];
        let content = Arc::new(Mutex::new(Content::durable(zeros)));
        machine.names.insert(name.to_owned(), Arc::clone(&content));
        Ok(Arc::new(SimulatedFile { machine: Arc::clone(&self.0), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.machine();
        machine.faults.operate()?;
        let content = machine.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        machine.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut machine = self.machine();
        machine.faults.operate()?;
        machine.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut machine = self.machine();
        machine.faults.operate()?;
        machine.faults.name_syncs += 1;
        if machine.faults.names_fail_at == Some(machine.faults.name_syncs) {
            return Err(io::Error::other("the sync of the names failed"));
        }
        machine.durable_names = machine.names.clone();
        Ok(())
    }

    fn place(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }
}

impl DiskFile for SimulatedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let asked = position..position + buffer.len() as u64;
        let touched = |it: &Range<u64>| it.start < asked.end && asked.start < it.end;
        if content.unreadable.as_ref().is_some_and(touched) {
            return Err(rustix::io::Errno::IO.into());
        }
        let from = usize::try_from(position).unwrap().min(content.current.len());
        let count = buffer.len().min(content.current.len() - from);
        buffer[..count].copy_from_slice(&content.current[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let (operated, is_off) = {
            let faults = &mut self.machine.lock().unwrap().faults;
            let operated = faults.operate();
            (operated, faults.power_off_at.is_some_and(|it| faults.operations >= it))
        };
        let mut content = self.content.lock().unwrap();
        let position = usize::try_from(position).unwrap();
        // A write that fails has done a part; one that the power cuts off may have begun.
        let done = if operated.is_ok() || is_off { bytes.len() } else { bytes.len() / 2 };
        content.pending.push((position, bytes[..done].to_vec()));
        if !is_off {
            Content::apply(&mut content.current, position, &bytes[..done]);
        }
        operated
    }

    fn sync(&self) -> io::Result<()> {
        let failed = {
            let faults = &mut self.machine.lock().unwrap().faults;
            let operated = faults.operate();
            if faults.power_off_at.is_some_and(|it| faults.operations >= it) {
                return operated;
            }
            faults.syncs += 1;
            faults.sync_fails_at == Some(faults.syncs) || operated.is_err()
        };
        let mut content = self.content.lock().unwrap();
        if failed {
            // The kernel marks the pages clean all the same: a later sync does not write them.
            content.pending.clear();
            return Err(io::Error::other("the sync failed"));
        }
        for (position, bytes) in std::mem::take(&mut content.pending) {
            Content::apply(&mut content.durable, position, &bytes);
        }
        Ok(())
    }
}
