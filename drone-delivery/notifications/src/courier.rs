//! Sends what is due: finds out where its reader wants to hear it, tries it, and writes down what
//! became of it. Each channel has its own round, so that a server that hangs holds up no other channel.
//!
//! Couriers of several processes share the tables: who takes a message is the only one to try it
//! for a while. A message may reach its reader twice, when a process dies between the sending and
//! the writing down; it then has the same id.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base::{Random, SharedClock};
use runtime::{Shutdown, Tasks};
use serde::Serialize;
use telemetry::{CounterFamily, Telemetry};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    config::{ConfigError, NotificationConfig},
    journal::Journal,
    mail::Mailer,
    notice::{Channel, Contact, Notice},
    outbox::{Due, Outbox, OutboxError, Outcome, ROUND_MAX},
    post::{Post, Target},
    posts, text,
    verdict::{Verdict, of_status},
};

/// Time between two looks for what is due, where nothing new comes in.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who knows where people want to be told.
pub trait AddressBook: Clone + Send + Sync + 'static {
    /// Where the reader of a notice wants to be told; an empty contact when nowhere.
    fn look_up(&self, notice: &Notice) -> impl Future<Output = Result<Contact, NotNow>> + Send;
}

/// The address book cannot say now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// Tells people; a cheap clone.
#[derive(Debug, Clone)]
pub struct Courier<B> {
    outbox: Outbox,
    book: B,
    ways: Arc<Ways>,
    /// Of each channel, that something new is due.
    news: Arc<[Notify; Channel::ALL.len()]>,
    counts: CounterFamily,
    clock: SharedClock,
    tasks: Tasks,
}

/// The channels that there are.
#[derive(Debug)]
struct Ways {
    config: NotificationConfig,
    mail: Option<Mailer>,
    sms: Option<Target>,
    webhook: Option<Target>,
    file: Journal,
}

/// One line of the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    delivery_id: &'a str,
    template: &'a str,
    occurred_at: base::Timestamp,
    /// By which ways its reader wants to be told.
    channels: Vec<Channel>,
}

impl<B: AddressBook> Courier<B> {
    /// A courier that writes its lines to `file` and starts nothing yet. Authorities that vouch for
    /// servers stand in a file of PEM, beside the machine's own list.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(
        config: NotificationConfig,
        outbox: Outbox,
        book: B,
        file: PathBuf,
        authorities: Option<&Path>,
        (clock, telemetry, tasks): (SharedClock, &Telemetry, Tasks),
    ) -> Result<Self, ConfigError> {
        let target = |url: &str, setting| match url {
            "" => Ok(None),
            url => Target::parse(url, setting, authorities).map(Some),
        };
        if !config.webhook.url.is_empty() && config.webhook.secret.is_empty() {
            return Err(ConfigError::Unsigned);
        }
        let ways = Ways {
            mail: Mailer::new(&config.smtp, config.patience.timeout(), authorities)?,
            sms: target(&config.sms.url, "notifications.sms.url")?,
            webhook: target(&config.webhook.url, "notifications.webhook.url")?,
            file: Journal::new(file),
            config,
        };
        let counts = telemetry.metrics().counter(
            "notifications_messages_total",
            "Tries to tell somebody, by channel and what became of them.",
            &["channel", "state"],
        );
        let news = Arc::default();
        Ok(Self { outbox, book, ways: Arc::new(ways), news, counts, clock, tasks })
    }

    /// What is to be said.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Takes a notice in for every channel that there is. Again, it changes nothing.
    ///
    /// # Errors
    /// Too many wait, or the tables failed.
    pub async fn tell(&self, notice: Notice) -> Result<(), store::WriteError<OutboxError>> {
        self.outbox.put(notice, self.ways.channels()).await?;
        self.news.iter().for_each(Notify::notify_one);
        Ok(())
    }

    /// Starts to send. Also by a channel that is there no more: what waits for it is given up.
    pub fn start(&self) {
        for (number, channel) in Channel::ALL.into_iter().enumerate() {
            let courier = self.clone();
            self.tasks.spawn("courier", move |shutdown| async move {
                courier.run(channel, &courier.news[number], shutdown).await;
            });
        }
    }

    async fn run(&self, channel: Channel, news: &Notify, shutdown: Shutdown) {
        let mut random = runtime::random_from_os();
        while !shutdown.is_cancelled() {
            let sent = self.round(channel, &mut random).await;
            if sent < ROUND_MAX as usize {
                let pause = async { timeout(LOOK_EVERY, news.notified()).await.ok() };
                shutdown.or_cancel(pause).await;
            }
        }
    }

    /// Tries what is due on a channel, all at the same time. Gives how many.
    async fn round(&self, channel: Channel, random: &mut Random) -> usize {
        let due = match self.outbox.take_due(channel, &self.ways.config.patience).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "nothing was sent this time");
                return 0;
            }
        };
        let count = due.len();
        let mut tries = JoinSet::new();
        for message in due {
            let (courier, unit) = (self.clone(), random.unit());
            tries.spawn(async move { courier.deliver(message, unit).await });
        }
        while let Some(ended) = tries.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a try panicked; it is tried again");
            }
        }
        count
    }

    async fn deliver(&self, due: Due, unit: f64) {
        let (outcome, address) = match self.book.look_up(&due.notice).await {
            Ok(contact) => self.attempt(&due, &contact).await,
            Err(NotNow(why)) => (Outcome::Tried(Verdict::Later(why)), None),
        };
        let patience = &self.ways.config.patience;
        let settled = self.outbox.settle(&due, address.as_deref(), outcome, patience, unit).await;
        match settled {
            Ok(state) => {
                self.counts.with(&[due.channel.as_str(), state.as_str()]).inc();
                let (delivery, template) = (&due.notice.delivery_id, &due.notice.template);
                let (channel, state) = (due.channel.as_str(), state.as_str());
                tracing::info!(delivery, template, channel, state, "customer notified");
            }
            // It is due again when the time of this try is over.
            Err(error) => tracing::warn!(%error, "what became of a message was not written down"),
        }
    }

    /// Tries one message. Gives the address that it went to as well.
    async fn attempt(&self, due: &Due, contact: &Contact) -> (Outcome, Option<String>) {
        let notice = &due.notice;
        match due.channel {
            // Nobody asked, and nobody is reached: not worth a line.
            Channel::File if contact.is_empty() => (Outcome::Unaddressed, None),
            Channel::File => (Outcome::Tried(self.ways.write_line(notice, contact).await), None),
            Channel::Webhook => {
                let post = posts::webhook(&self.ways.config.webhook, notice, self.clock.now());
                (Outcome::Tried(self.post(self.ways.webhook.as_ref(), &post, false).await), None)
            }
            Channel::Email | Channel::Sms => {
                let Some(address) = contact.address(due.channel).map(str::to_owned) else {
                    return (Outcome::Unaddressed, None);
                };
                match self.outbox.is_suppressed(due.channel, &address).await {
                    Ok(true) => return (Outcome::Suppressed, None),
                    Err(error) => {
                        return (Outcome::Tried(Verdict::Later(error.to_string())), None);
                    }
                    Ok(false) => {}
                }
                let verdict = self.send(due, contact, &address).await;
                (Outcome::Tried(verdict), Some(address))
            }
        }
    }

    async fn send(&self, due: &Due, contact: &Contact, address: &str) -> Verdict {
        let (notice, language) = (&due.notice, contact.language);
        let link = self.ways.unsubscribe_link(&due.token);
        let link = link.as_deref();
        if due.channel == Channel::Sms {
            let post = posts::sms(&self.ways.config.sms, notice, address, language, link);
            return self.post(self.ways.sms.as_ref(), &post, true).await;
        }
        let Some(mail) = &self.ways.mail else { return gone() };
        let text = text::mail(notice, language, link);
        mail.send(address, &posts::key(&notice.id), &text, link).await
    }

    async fn post(&self, target: Option<&Target>, post: &Post, is_personal: bool) -> Verdict {
        let Some(target) = target else { return gone() };
        match target.post(post, self.ways.config.patience.timeout(), &self.tasks).await {
            Ok(status) => of_status(status, is_personal),
            Err(error) => Verdict::Later(error.to_string()),
        }
    }
}

/// A channel that was there when the message was taken in.
fn gone() -> Verdict {
    Verdict::Refused("the channel is there no more".to_owned())
}

impl Ways {
    fn channels(&self) -> Vec<Channel> {
        let is_there = |it: &Channel| match it {
            Channel::File => true,
            Channel::Email => self.mail.is_some(),
            Channel::Sms => self.sms.is_some(),
            Channel::Webhook => self.webhook.is_some(),
        };
        Channel::ALL.into_iter().filter(is_there).collect()
    }

    fn unsubscribe_link(&self, token: &str) -> Option<String> {
        let base = self.config.unsubscribe_url.trim_end_matches('/');
        (!base.is_empty()).then(|| format!("{base}/{token}"))
    }

    async fn write_line(&self, notice: &Notice, contact: &Contact) -> Verdict {
        let line = Line {
            delivery_id: &notice.delivery_id,
            template: &notice.template,
            occurred_at: notice.occurred_at,
            channels: contact.channels(),
        };
        match self.file.append(&line).await {
            Ok(()) => Verdict::Sent,
            Err(error) => Verdict::Later(error.to_string()),
        }
    }
}
