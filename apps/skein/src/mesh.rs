//! Policy from files: read at the start, followed while the process runs, the last good one kept.
//!
//! A file is replaced by renaming another one into its place, so that it is seen whole. What cannot be
//! used changes nothing: the error is logged with its place, counted, and shown until it is mended. Of
//! each file the last good state stays by itself: what a person wrote wrongly, or took away, never keeps
//! a process from hearing where the others are.

mod files;
mod kept;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mesh_control::{
    Hearer, Registration, State, Upstream,
    sources::{Contribution, Source},
};
use mesh_policy::schema::{self, SourceFile};
use mesh_proxy::{Mesh, Subject};
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::{sync::watch, time::interval};

pub(crate) use self::files::FileStamp;
pub use self::files::{PolicyError, PolicyFiles, refused};
use self::files::{Stamp, Texts};
use crate::failure::chain;

/// How often the files are looked at. An instance that died is avoided by its callers' breakers long
/// before it would matter; this bounds how late a new one gets work.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What of the files, and of a control plane, is in use.
#[derive(Debug)]
struct Used {
    meshes: Vec<Mesh>,
    /// Each as it was when it could last be used.
    texts: Texts,
    /// What the control plane said when it could last be used.
    state: State,
    /// What is wrong with the files, and with what the control plane says.
    troubles: [Option<String>; 2],
}

impl Used {
    /// By meshes that were made of these texts.
    fn new(texts: Texts, meshes: Vec<Mesh>) -> Self {
        Self { meshes, texts, state: State::default(), troubles: [None, None] }
    }

    /// Takes in what the control plane says now.
    fn hear(&mut self, state: &State) -> Result<(), String> {
        let heard = self.put(&self.texts, state);
        if heard.is_ok() {
            self.state.clone_from(state);
        }
        let [_, trouble] = &mut self.troubles;
        *trouble = heard.clone().err();
        self.show();
        heard
    }

    /// Has every mesh show what is wrong.
    fn show(&self) {
        let all: Vec<&str> = self.troubles.iter().flatten().map(String::as_str).collect();
        let trouble = (!all.is_empty()).then(|| all.join("\n"));
        self.meshes.iter().for_each(|it| it.set_trouble(Subject::Policy, trouble.clone()));
    }

    /// Takes in what the files say now. Where that cannot be used as a whole, each file is that can be
    /// used beside the last good states of the others.
    fn take(&mut self, files: &PolicyFiles) -> Result<(), String> {
        let taken = self.try_take(files);
        files.keep(&self.texts);
        let [trouble, _] = &mut self.troubles;
        *trouble = taken.clone().err();
        self.show();
        taken
    }

    fn try_take(&mut self, files: &PolicyFiles) -> Result<(), String> {
        let (mut new, mut error) = (Vec::new(), None);
        for text in files.texts() {
            match text {
                Ok(it) => new.push(it),
                Err(it) => error = error.or_else(|| Some(chain(&it))),
            }
        }
        let error = match error.map_or_else(|| self.put(&new, &self.state), Err) {
            Ok(()) => {
                self.texts = new;
                return Ok(());
            }
            Err(error) => error,
        };
        for text in new {
            let mut with = self.texts.clone();
            match with.iter_mut().find(|it| it.name == text.name) {
                Some(known) if *known == text => continue,
                Some(known) => *known = text,
                None => with.push(text),
            }
            if self.put(&with, &self.state).is_ok() {
                self.texts = with;
            }
        }
        Err(error)
    }

    /// Makes them the policy of every mesh. Where a text lists a service, it alone is believed.
    fn put(&self, texts: &[SourceFile], state: &State) -> Result<(), String> {
        let all: Vec<SourceFile> = texts.iter().chain(&state.documents).cloned().collect();
        let mut policy = schema::read(&all).map_err(|it| chain(&PolicyError::Findings(it)))?;
        for (service, set) in &state.sets {
            policy.endpoints.entry(service.clone()).or_insert_with(|| set.clone());
        }
        let mut meshes = self.meshes.iter();
        meshes.try_for_each(|it| it.replace(policy.clone()).map_err(|it| it.to_string()))
    }
}

/// What is followed; a cheap handle.
#[derive(Debug, Clone)]
pub struct Following(Arc<Mutex<Used>>);

impl Following {
    /// Locked while a policy is made, never while anything waits.
    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears a control plane besides the files, from now on, and registers `instances` there.
    pub fn hear(
        &self,
        control: Upstream,
        name: &str,
        instances: watch::Receiver<Vec<Registration>>,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) {
        mesh_control::subscribe(
            control,
            name.to_owned(),
            instances,
            self.clone(),
            telemetry,
            tasks,
        );
    }
}

impl Hearer for Following {
    fn apply(&mut self, state: &State) -> Result<(), String> {
        self.used().hear(state)
    }

    fn is_away(&mut self, why: Option<String>) {
        let meshes = &self.used().meshes;
        meshes.iter().for_each(|it| it.set_trouble(Subject::ControlPlane, why.clone()));
    }
}

/// A mesh by files that are not followed yet.
#[derive(Debug)]
pub struct Begun {
    /// By what the files say now, or said when they could last be used.
    pub mesh: Mesh,
    files: PolicyFiles,
    texts: Texts,
}

impl Begun {
    /// A mesh of this name by these files.
    ///
    /// # Errors
    /// They cannot be used, each place named, and no last good state of them is [kept](PolicyFiles::kept_in).
    pub fn new(files: PolicyFiles, name: &str, telemetry: &Telemetry) -> Result<Self, PolicyError> {
        let (mesh, texts) = files.begin(name, telemetry)?;
        Ok(Self { mesh, files, texts })
    }

    /// Follows the files: each good state of them becomes the policy of the mesh, and of `further` ones
    /// that were made of it.
    pub fn follow(self, further: Vec<Mesh>, telemetry: &Telemetry, tasks: &Tasks) -> Following {
        let Self { mesh, files, texts } = self;
        let metrics = telemetry.metrics();
        let refused = metrics
            .counter("mesh_policy_refused_total", "Changes of policy that could not be used.", &[])
            .with(&[]);
        let meshes = [vec![mesh], further].concat();
        let following = Following(Arc::new(Mutex::new(Used::new(texts, meshes))));
        let handle = following.clone();
        tasks.spawn("policy files", move |shutdown| async move {
            let (mut seen, mut was_refused) = (Stamp::new(), false);
            let mut ticks = interval(LOOK_EVERY);
            while shutdown.or_cancel(ticks.tick()).await.is_some() {
                let stamp = files.stamp();
                if stamp == seen {
                    continue;
                }
                seen = stamp;
                let used = following.used().take(&files);
                match &used {
                    Err(error) => {
                        refused.inc();
                        tracing::error!(%error, "the policy was refused, the last good state of each file stays");
                    }
                    Ok(()) if was_refused => tracing::info!("the policy is accepted again"),
                    Ok(()) => {}
                }
                was_refused = used.is_err();
            }
        });
        handle
    }
}

/// Files as a source of a control plane.
#[derive(Debug)]
pub struct FileSource {
    files: PolicyFiles,
    seen: Option<Stamp>,
    said: Result<Contribution, String>,
}

impl FileSource {
    /// Of these files.
    #[must_use]
    pub fn new(files: PolicyFiles) -> Self {
        Self { files, seen: None, said: Ok(Contribution::default()) }
    }
}

impl Source for FileSource {
    fn name(&self) -> &'static str {
        "files"
    }

    fn every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn look(&mut self) -> Result<Contribution, String> {
        let stamp = self.files.stamp();
        if self.seen.as_ref() != Some(&stamp) {
            let documents = self.files.sources().map_err(|it| chain(&it));
            self.said =
                documents.map(|it| Contribution { documents: it, ..Contribution::default() });
            self.seen = Some(stamp);
        }
        self.said.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn endpoints(name: &str) -> String {
        format!(
            "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {name}}}\n\
             spec: {{endpoints: []}}\n"
        )
    }

    #[test]
    fn a_file_that_is_broken_or_gone_keeps_no_other_from_being_heard() {
        let folder = tempfile::tempdir().unwrap();
        let (places, rules) = (folder.path().join("places.yaml"), folder.path().join("rules.yaml"));
        let files = PolicyFiles::new().with_file(&rules).with_file(&places);
        fs::write(&places, endpoints("stock")).unwrap();
        fs::write(&rules, endpoints("mail")).unwrap();
        let Begun { mesh, texts, .. } = begun(&files).unwrap();
        let mut used = Used::new(texts, vec![mesh.clone()]);
        let known = || ["stock", "shop", "bank", "mail"].map(|it| mesh.knows(it));
        assert_eq!(used.take(&files), Ok(()));
        assert_eq!(known(), [true, false, false, true]);

        fs::write(&rules, "kind: Nonsense\n").unwrap();
        fs::write(&places, endpoints("shop")).unwrap();
        assert!(used.take(&files).unwrap_err().contains("rules.yaml"));
        assert_eq!(known(), [false, true, false, true], "what was good of it stays");

        fs::remove_file(&rules).unwrap();
        fs::write(&places, endpoints("bank")).unwrap();
        assert!(used.take(&files).unwrap_err().contains("rules.yaml"));
        assert_eq!(known(), [false, false, true, true]);

        fs::write(&rules, endpoints("stock")).unwrap();
        assert_eq!(used.take(&files), Ok(()));
        assert_eq!(known(), [true, false, true, false]);
    }

    fn begun(files: &PolicyFiles) -> Result<Begun, PolicyError> {
        Begun::new(files.clone(), "it", &Telemetry::disabled())
    }

    #[test]
    fn who_starts_while_a_file_is_broken_goes_on_by_what_it_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, kept) = (folder.path().join("rules.yaml"), folder.path().join("last-good"));
        let places = folder.path().join("places.yaml");
        fs::write(&rules, endpoints("mail")).unwrap();
        fs::write(&places, endpoints("stock")).unwrap();
        let plain = PolicyFiles::new().with_file(&rules).with_file(&places);
        let files = plain.clone().kept_in(&kept);
        let Begun { mesh, texts, .. } = begun(&files).unwrap();
        assert_eq!(Used::new(texts, vec![mesh]).take(&files), Ok(()));

        let broken = ["kind: Nonsense\n".to_owned(), endpoints("stock"), "\u{0}".repeat(2 << 20)];
        for text in broken {
            fs::write(&rules, text).unwrap();
            fs::write(&places, endpoints("stock")).unwrap();
            begun(&plain).unwrap_err();
            let Begun { mesh, texts, .. } = begun(&files).unwrap();
            assert_eq!(["mail", "stock", "shop"].map(|it| mesh.knows(it)), [true, true, false]);
            // The others are heard, and what is wrong is told.
            fs::write(&places, endpoints("shop")).unwrap();
            let mut used = Used::new(texts, vec![mesh.clone()]);
            let told = used.take(&files).err();
            if let Some(told) = told {
                assert!(told.contains("rules.yaml"), "{told}");
            }
            assert!(mesh.knows("shop"));
            fs::write(&places, endpoints("stock")).unwrap();
            fs::write(&rules, endpoints("mail")).unwrap();
            assert_eq!(used.take(&files), Ok(()));
        }
        fs::remove_file(&rules).unwrap();
        assert!(begun(&files).unwrap().mesh.knows("mail"));
        fs::remove_dir_all(&kept).unwrap();
        begun(&files).unwrap_err();
    }
}
