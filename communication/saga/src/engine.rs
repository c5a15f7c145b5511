//! The engine as its embedder holds it: submits sagas, says words to them, asks about them.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::store::{ReadError, SqlError, Store, WriteError};
use base::SharedClock;
use telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    caller::{Caller, Observer},
    config::{EngineConfig, EngineSettings},
    definition::Definition,
    machine::{Signal, Start, Status},
    metrics::Metrics,
    runner::{Core, Input, Shell, ShellParts},
    store::{
        Definitions, InstanceView, ListFilter, Signalled, Taken, get, history, instances, list,
        signal, take_instance,
    },
    view::{HistoryRow, SagaView},
};

/// What an engine is made of besides its numbers.
#[derive(Debug)]
pub struct EngineParts<C, O> {
    /// The saga store, opened with [`MIGRATIONS`](crate::store::MIGRATIONS).
    pub store: Store,
    /// The kinds of sagas that can be submitted here. Others are read from the store.
    pub definitions: Vec<Definition>,
    /// Makes the calls.
    pub caller: C,
    /// Hears of every record.
    pub observer: O,
    /// Tells the time.
    pub clock: SharedClock,
    /// Takes spans and metrics.
    pub telemetry: Telemetry,
}

/// A running engine; a cheap handle.
#[derive(Debug, Clone)]
pub struct Engine {
    instance: Arc<str>,
    settings: EngineSettings,
    store: Store,
    definitions: Arc<Definitions>,
    inputs: mpsc::UnboundedSender<Input>,
    open: watch::Receiver<usize>,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The saga is durable and will be worked on, when it is its turn.
    New,
    /// A saga of that id and input exists; it stands like this.
    Exists {
        /// Where it stands.
        status: Status,
    },
}

/// Why an engine was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One late renewal would cost the lease.
    #[error("a lease of {lease_ms} ms does not outlive two renewals of {renewal_ms} ms")]
    LeaseTooShort {
        /// The lease.
        lease_ms: u64,
        /// Between two renewals.
        renewal_ms: u64,
    },
    /// A live process works under the same name.
    #[error("another process runs as instance {instance}")]
    InstanceRuns {
        /// The name.
        instance: String,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock file {}", path.display())]
    Lock {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The saga store did not take the lease.
    #[error("the saga store did not take the lease")]
    Store(#[source] WriteError<SqlError>),
}

/// Why a saga was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// No such kind of saga is offered here.
    #[error("no saga is defined as `{name}`")]
    UnknownDefinition {
        /// The name.
        name: String,
    },
    /// A saga of that id was accepted with another input.
    #[error("a saga of that id was accepted with another input")]
    OtherInput,
    /// The instance owns as many sagas as it may.
    #[error("{open_max} sagas are open")]
    Overloaded {
        /// How many it may own.
        open_max: usize,
    },
    /// The instance is stopping, or has lost its lease for the moment. The saga may exist:
    /// submitting it again is safe.
    #[error("the engine takes no sagas right now")]
    Unavailable,
}

impl SubmitError {
    /// Whether the same submission may succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Unavailable => true,
            Self::UnknownDefinition { .. } | Self::OtherInput => false,
        }
    }
}

impl Engine {
    /// Takes the instance's lease and begins to work: first on what it owned before.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start<C: Caller, O: Observer>(
        config: EngineConfig,
        parts: EngineParts<C, O>,
        tasks: &runtime::Tasks,
    ) -> Result<Self, StartError> {
        let EngineConfig { instance, kind, lock_directory, settings } = config;
        if !settings.lease_outlives_two_renewals() {
            let (lease_ms, renewal_ms) = (settings.lease_ms, settings.renewal_ms);
            return Err(StartError::LeaseTooShort { lease_ms, renewal_ms });
        }
        let lock = lock_instance(&lock_directory, &instance)?;
        let EngineParts { store, definitions, caller, observer, clock, telemetry } = parts;
        let definitions = Arc::new(Definitions::new(definitions));
        let mut random = runtime::random_from_os();
        let process = random.uuid_v7(clock.now()).to_string();
        let taken = {
            let (name, process) = (instance.clone(), process.clone());
            let (lease, definitions) = (settings.lease(), Arc::clone(&definitions));
            let write = store.write(move |transaction| {
                definitions.keep(transaction)?;
                // The lock proves that the process that wrote the last lease is gone.
                take_instance(transaction, &name, kind, &process, lease, true)
            });
            write.await.map_err(StartError::Store)?
        };
        let Taken::Until { expires, boot_id } = taken else {
            return Err(StartError::InstanceRuns { instance });
        };
        let instance: Arc<str> = instance.into();
        let metrics = Metrics::new(&telemetry);
        // Unbounded in form only: an input is an answer to a call in flight, an append of an open
        // saga, one look into the store, or a word by a caller who waits for its reply.
        let (inputs, received) = mpsc::unbounded_channel();
        let (open_count, open) = watch::channel(0);
        let core = Core::new(
            Arc::clone(&instance),
            kind,
            settings.clone(),
            Arc::clone(&definitions),
            metrics.clone(),
            random,
        );
        let shell = Shell::new(
            core,
            ShellParts {
                instance: Arc::clone(&instance),
                kind,
                settings: settings.clone(),
                process: process.into(),
                boot_id,
                lock,
                store: store.clone(),
                definitions: Arc::clone(&definitions),
                caller: Arc::new(caller),
                observer: Arc::new(observer),
                clock,
                telemetry,
                metrics,
                tasks: tasks.clone(),
                inputs: inputs.clone(),
                received,
                open_count,
            },
            expires,
        );
        tasks.spawn("saga engine", |shutdown| shell.run(shutdown));
        Ok(Self { instance, settings, store, definitions, inputs, open })
    }

    /// Makes a saga durable and works on it. The same id with the same input is the same saga.
    ///
    /// Cancel-safe in that a dropped submission may have happened, and can be made again.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, start: Start) -> Result<Submitted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Submit { start, reply }).is_err() {
            return Err(SubmitError::Unavailable);
        }
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Says a word to a saga, durably. It need not be owned here, nor exist yet.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn signal(
        &self,
        saga: &str,
        word: Signal,
    ) -> Result<Signalled, WriteError<SqlError>> {
        let (saga, definitions) = (saga.to_owned(), Arc::clone(&self.definitions));
        let write =
            self.store.write(move |transaction| signal(transaction, &definitions, &saga, &word));
        let signalled = write.await?;
        self.nudge();
        Ok(signalled)
    }

    /// Looks into the store now instead of at the next turn: somebody says that there is work.
    pub fn nudge(&self) {
        // An engine that has stopped needs no nudge.
        drop(self.inputs.send(Input::Nudge));
    }

    /// One saga.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, id: &str) -> Result<Option<SagaView>, ReadError> {
        let (id, definitions) = (id.to_owned(), Arc::clone(&self.definitions));
        self.store.read(move |reader| get(reader, &definitions, &id)).await
    }

    /// Some sagas, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<SagaView>, ReadError> {
        let definitions = Arc::clone(&self.definitions);
        self.store.read(move |reader| list(reader, &definitions, &filter)).await
    }

    /// The records of a saga, the oldest first; none when it does not exist or they were swept.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn history(&self, id: &str) -> Result<Vec<HistoryRow>, ReadError> {
        let id = id.to_owned();
        self.store.read(move |reader| history(reader, &id)).await
    }

    /// Every instance that works, or worked, on the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn instances(&self) -> Result<Vec<InstanceView>, ReadError> {
        self.store.read(instances).await
    }

    /// Name of this instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Sagas that this instance owns.
    #[must_use]
    pub fn open_count(&self) -> usize {
        *self.open.borrow()
    }

    /// Sagas that this instance may own.
    #[must_use]
    pub fn open_max(&self) -> usize {
        self.settings.open_sagas_max
    }

    /// Sagas of one subject that may wait for their turn.
    #[must_use]
    pub fn waiting_max(&self) -> usize {
        self.settings.waiting_max
    }

    /// Waits until the number of owned sagas may have changed; false when the engine has stopped.
    /// Cancel-safe.
    pub async fn open_changed(&mut self) -> bool {
        self.open.changed().await.is_ok()
    }
}

/// Takes the lock of an instance name. The kernel gives it back when the process dies, however.
fn lock_instance(directory: &Path, instance: &str) -> Result<File, StartError> {
    let path = directory.join(format!("{}.lock", instance.replace('/', "_")));
    let open = fs::create_dir_all(directory)
        .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(&path));
    let file = match open {
        Ok(file) => file,
        Err(source) => return Err(StartError::Lock { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StartError::InstanceRuns { instance: instance.to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(StartError::Lock { path, source }),
    }
}
