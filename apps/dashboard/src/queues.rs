//! Topics, groups and dead letters, as the log tells of them when somebody looks.
//!
//! The log is asked when the page asks, at most every second whoever looks, so that a page that nobody
//! has open costs nothing. Rates are differences of two looks.

mod report;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use messaging::{AdminError, Lag, Messaging, TopicInfo};
use tokio::{sync::Mutex, time::Instant};

pub(crate) use report::Report;

/// A look is as good as a new one for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Two looks are compared when they lie no further apart.
const COMPARED: Duration = Duration::from_secs(60);
/// Groups that are asked about.
const GROUPS_MAX: usize = 200;

/// The newest looks.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    messaging: Messaging,
    looks: Arc<Mutex<Looks>>,
}

#[derive(Debug, Default)]
struct Looks {
    before: Option<Look>,
    now: Option<Look>,
}

/// What the log said at one time.
#[derive(Debug)]
struct Look {
    at: Instant,
    topics: Vec<TopicInfo>,
    groups: Vec<Group>,
    /// Why the groups are not told.
    refused: Option<String>,
}

/// A group as it stands.
#[derive(Debug)]
struct Group {
    name: String,
    state: String,
    members: usize,
    /// By topic; of those in which it has committed something.
    lags: BTreeMap<String, Lag>,
}

impl Queues {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, looks: Arc::default() }
    }

    /// The log, for what is done about letters.
    pub(crate) const fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    /// What there is now.
    pub(crate) async fn report(&self) -> Result<Report, AdminError> {
        // Whoever comes meanwhile waits for this look.
        let mut looks = self.looks.lock().await;
        let age = looks.now.as_ref().map(|it| it.at.elapsed());
        if age.is_none_or(|it| it >= FRESH) {
            let look = self.look().await?;
            looks.before = looks.now.take().filter(|it| look.at - it.at <= COMPARED);
            looks.now = Some(look);
        }
        let Looks { before, now } = &*looks;
        Ok(now.as_ref().map_or_else(Report::default, |it| report::report(before.as_ref(), it)))
    }

    async fn look(&self) -> Result<Look, AdminError> {
        let (at, topics) = (Instant::now(), self.messaging.topics().await?);
        let (groups, refused) = match self.groups(&topics).await {
            Ok(groups) => (groups, None),
            // A log that asks who comes in tells of groups to operators alone.
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Ok(Look { at, topics, groups, refused })
    }

    async fn groups(&self, topics: &[TopicInfo]) -> Result<Vec<Group>, AdminError> {
        let mut groups = Vec::new();
        for name in self.messaging.groups().await?.into_iter().take(GROUPS_MAX) {
            let found = match self.messaging.group(&name).await {
                Ok(found) => found,
                // It went meanwhile.
                Err(AdminError::UnknownGroup { .. }) => continue,
                Err(error) => return Err(error),
            };
            let lags = self.messaging.lags(&name, topics).await?;
            groups.push(Group { name, state: found.state, members: found.members.len(), lags });
        }
        Ok(groups)
    }
}
