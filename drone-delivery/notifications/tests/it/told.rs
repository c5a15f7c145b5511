//! Customers, at their mailbox, their phone's provider and their program.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use base::Timestamp;
use identity::testing::Front;
use notifications::{
    AddressBook, Contact, Courier, Entry, Language, NotNow, Notice, NotificationConfig, Outbox,
    Patience, SmsConfig, SmtpConfig, SmtpTls, State, WebhookConfig,
    testing::{Mailbox, Postbox},
};
use runtime::{SystemClock, Tasks};
use store::StoreSettings;
use telemetry::Telemetry;
use tempfile::TempDir;

use crate::wait::until;

const EMAIL: &str = "a.customer@example.com";
const PHONE: &str = "+358401234567";

/// A book of one page, that can be closed.
#[derive(Debug, Clone)]
struct Book(Arc<Mutex<Result<Contact, NotNow>>>);

impl AddressBook for Book {
    async fn look_up(&self, _: &Notice) -> Result<Contact, NotNow> {
        self.0.lock().unwrap().clone()
    }
}

struct Town {
    mail: Mailbox,
    phone: Postbox,
    program: Postbox,
    courier: Courier<Book>,
    book: Book,
    folder: TempDir,
    tasks: Tasks,
    /// What stands before the servers.
    outside: Option<Tasks>,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.tasks.stop();
        self.outside.iter().for_each(Tasks::stop);
    }
}

fn contact() -> Contact {
    let (email, sms) = (Some(EMAIL.to_owned()), Some(PHONE.to_owned()));
    Contact { email, sms, language: Language::En }
}

fn quick() -> Patience {
    let (first_wait_ms, wait_ms_max) = (20, 50);
    Patience { first_wait_ms, wait_ms_max, timeout_ms: 2_000, ..Patience::default() }
}

impl Town {
    async fn open(patience: Patience) -> Self {
        let (mail, phone) = (Mailbox::open().await.unwrap(), Postbox::open().await.unwrap());
        let program = Postbox::open().await.unwrap();
        let config = NotificationConfig {
            smtp: SmtpConfig {
                host: "127.0.0.1".to_owned(),
                port: mail.port(),
                tls: SmtpTls::None,
                ..SmtpConfig::default()
            },
            sms: SmsConfig {
                url: phone.url("/messages"),
                token: "token".to_owned(),
                from: "Drones".to_owned(),
            },
            webhook: WebhookConfig { url: program.url("/hook"), secret: "secret".to_owned() },
            patience,
            unsubscribe_url: "https://drones.example/stop".to_owned(),
        };
        Self::with(config, (mail, phone, program), None).await
    }

    /// The same behind TLS, each with an authority of its own, of which some are believed.
    async fn open_by_tls(patience: Patience, believed: [bool; 3]) -> Self {
        let (mail, phone) = (Mailbox::open().await.unwrap(), Postbox::open().await.unwrap());
        let program = Postbox::open().await.unwrap();
        let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let behind = [local(mail.port()), phone.address(), program.address()];
        let (mut fronts, mut authorities) = (Vec::new(), String::new());
        for (behind, is_believed) in behind.into_iter().zip(believed) {
            let front = Front::open("127.0.0.1", behind, &tasks).await.unwrap();
            authorities += if is_believed { front.authority() } else { "" };
            fronts.push(front.address());
        }
        let path = folder.path().join("authorities.pem");
        std::fs::write(&path, authorities).unwrap();
        let config = NotificationConfig {
            smtp: SmtpConfig {
                host: "127.0.0.1".to_owned(),
                port: fronts[0].port(),
                tls: SmtpTls::Tls,
                ..SmtpConfig::default()
            },
            sms: SmsConfig {
                url: format!("https://{}/messages", fronts[1]),
                ..SmsConfig::default()
            },
            webhook: WebhookConfig {
                url: format!("https://{}/hook", fronts[2]),
                secret: "secret".to_owned(),
            },
            patience,
            ..NotificationConfig::default()
        };
        let mut town = Self::with(config, (mail, phone, program), Some(&path)).await;
        town.outside = Some(tasks);
        town
    }

    async fn with(
        config: NotificationConfig,
        (mail, phone, program): (Mailbox, Postbox, Postbox),
        authorities: Option<&Path>,
    ) -> Self {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let path = folder.path().join("notifications.db");
        let settings = StoreSettings::default();
        let outbox = Outbox::open(&path, settings, clock.clone(), &telemetry, [7; 32]);
        let outbox = outbox.await.unwrap();
        let book = Book(Arc::new(Mutex::new(Ok(contact()))));
        let file = folder.path().join("told.jsonl");
        let surroundings = (clock, &telemetry, tasks.clone());
        let courier = Courier::new(config, outbox, book.clone(), file, authorities, surroundings);
        let courier = courier.unwrap();
        courier.start();
        Self { mail, phone, program, courier, book, folder, tasks, outside: None }
    }

    async fn tell(&self, id: &str, template: &str) {
        let notice = Notice {
            id: id.to_owned(),
            delivery_id: "d1".to_owned(),
            owner_id: Some("o1".to_owned()),
            template: template.to_owned(),
            reason: Some("no drone can fly it".to_owned()),
            occurred_at: Timestamp::from_millis(0),
        };
        self.courier.tell(notice).await.unwrap();
    }

    /// Waits until nothing waits any more.
    async fn settled(&self) -> Vec<Entry> {
        until("every message is settled", || async {
            let entries = self.courier.outbox().entries("d1").await.unwrap();
            let is_open = entries.iter().any(|it| it.state == State::Waiting);
            (!entries.is_empty() && !is_open).then_some(entries)
        })
        .await
    }

    async fn states(&self) -> Vec<(String, State)> {
        let entries = self.settled().await;
        entries.into_iter().map(|it| (it.channel.as_str().to_owned(), it.state)).collect()
    }
}

fn all(state: State) -> Vec<(String, State)> {
    ["file", "email", "sms", "webhook"].map(|it| (it.to_owned(), state)).to_vec()
}

#[tokio::test]
async fn a_customer_is_told_once_by_every_channel_however_often_it_is_asked_for() {
    let town = Town::open(quick()).await;
    for _ in 0..3 {
        town.tell("d1/failed", "failed").await;
    }
    assert_eq!(town.states().await, all(State::Sent));
    let [mail] = &town.mail.taken()[..] else { panic!("one mail: {:?}", town.mail.taken()) };
    assert_eq!(mail.to, [EMAIL]);
    for part in [
        "Subject: Not delivered",
        "could not be delivered",
        "no drone can fly it",
        "Message-ID: <d1/failed@localhost>",
        "List-Unsubscribe: <https://drones.example/stop/",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ] {
        assert!(mail.text.contains(part), "{part} in {}", mail.text);
    }
    let [message] = &town.phone.taken()[..] else { panic!("one text message") };
    assert_eq!(message.json()["to"], PHONE);
    assert_eq!(message.headers["authorization"], "Bearer token");
    let [call] = &town.program.taken()[..] else { panic!("one call") };
    assert_eq!((call.path.as_str(), &call.json()["template"]), ("/hook", &"failed".into()));
    assert!(call.headers["webhook-signature"].starts_with("v1="));
    let line = std::fs::read_to_string(town.folder.path().join("told.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({"deliveryId": "d1", "template": "failed",
        "occurredAt": "1970-01-01T00:00:00.000Z", "channels": ["email", "sms"]});
    assert_eq!(line, expected);
}

#[tokio::test]
async fn a_finnish_reader_reads_finnish() {
    let town = Town::open(quick()).await;
    *town.book.0.lock().unwrap() = Ok(Contact { language: Language::Fi, ..contact() });
    town.tell("d1/failed", "failed").await;
    town.settled().await;
    assert!(town.mail.taken()[0].text.contains("Pakettiasi ei voitu toimittaa."));
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_until_it_is() {
    let town = Town::open(quick()).await;
    town.mail.greet_next_with(421);
    town.mail.greet_next_with(421);
    town.phone.answer_next_with(503);
    town.program.answer_next_with(500);
    town.tell("d1/completed", "completed").await;
    assert_eq!(town.states().await, all(State::Sent));
    assert_eq!((town.mail.connections(), town.mail.taken().len()), (3, 1));
    assert_eq!((town.phone.taken().len(), town.program.taken().len()), (2, 2));
    let keys: Vec<_> =
        town.phone.taken().iter().map(|it| it.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys[0], keys[1], "the provider can tell the second from another");
}

#[tokio::test]
async fn a_mail_server_that_hangs_holds_up_no_other_channel_and_gets_its_mail_later() {
    let town = Town::open(Patience { timeout_ms: 500, ..quick() }).await;
    // The greeting never comes; then the mail is taken, and its answer never comes.
    town.mail.hang_next();
    town.mail.lose_next_answer();
    town.tell("n1", "failed").await;
    until("the others are told", || async {
        let entries = town.courier.outbox().entries("d1").await.unwrap();
        let others = entries.iter().filter(|it| it.channel != notifications::Channel::Email);
        let is_mail_open = entries
            .iter()
            .any(|it| it.channel == notifications::Channel::Email && it.state == State::Waiting);
        (others.filter(|it| it.state == State::Sent).count() == 3 && is_mail_open).then_some(())
    })
    .await;
    assert_eq!(town.states().await, all(State::Sent));
    let mails = town.mail.taken();
    let ids: Vec<_> = mails
        .iter()
        .filter_map(|it| it.text.lines().find(|it| it.starts_with("Message-ID")))
        .collect();
    assert_eq!((mails.len(), town.mail.connections()), (2, 3));
    assert_eq!(ids[0], ids[1], "its reader cannot tell that it is one");
}

#[tokio::test]
async fn what_hangs_of_one_channel_makes_no_later_message_of_another_wait() {
    let town = Town::open(Patience { timeout_ms: 60_000, ..quick() }).await;
    town.mail.hang_next();
    town.tell("n1", "failed").await;
    until("the mail hangs", || async { (town.mail.connections() == 1).then_some(()) }).await;
    town.tell("n2", "delayed").await;
    until("the phone has both", || async { (town.phone.taken().len() == 2).then_some(()) }).await;
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_after_so_many_tries() {
    let town = Town::open(Patience { attempts_max: 3, ..quick() }).await;
    for _ in 0..9 {
        town.mail.greet_next_with(421);
    }
    town.tell("d1/completed", "completed").await;
    let entries = town.settled().await;
    let mail = entries.iter().find(|it| it.channel.as_str() == "email").unwrap();
    assert_eq!((mail.state, mail.attempts), (State::GivenUp, 3));
    assert_eq!(mail.outcome.as_deref(), Some("the mail server says 421"));
    assert_eq!(town.mail.connections(), 3);
}

#[tokio::test]
async fn what_has_waited_past_its_deadline_is_given_up() {
    let town = Town::open(Patience { give_up_after_s: 0, ..quick() }).await;
    town.mail.greet_next_with(421);
    town.tell("d1/completed", "completed").await;
    let entries = town.settled().await;
    let mail = entries.iter().find(|it| it.channel.as_str() == "email").unwrap();
    assert_eq!((mail.state, mail.attempts), (State::GivenUp, 1));
}

#[tokio::test]
async fn an_address_that_bounced_is_written_down_and_written_to_no_more() {
    let town = Town::open(quick()).await;
    town.mail.refuse(EMAIL, 550);
    town.tell("d1/delayed", "delayed").await;
    let entries = town.settled().await;
    let mail = entries.iter().find(|it| it.channel.as_str() == "email").unwrap();
    assert_eq!((mail.state, mail.attempts), (State::Bounced, 1));
    assert_eq!(mail.outcome.as_deref(), Some("the mail server says 550"));
    town.tell("d1/completed", "completed").await;
    let entries = town.settled().await;
    let last = entries.iter().rfind(|it| it.channel.as_str() == "email").unwrap();
    assert_eq!(last.state, State::Suppressed);
    assert_eq!(town.mail.connections(), 1);
    assert_eq!(town.phone.taken().len(), 2, "a phone is another address");
}

#[tokio::test]
async fn who_unsubscribes_by_the_link_of_a_mail_gets_no_further_mail() {
    let town = Town::open(quick()).await;
    town.tell("d1/delayed", "delayed").await;
    town.settled().await;
    let text = town.mail.taken()[0].text.clone();
    let token = text.split("<https://drones.example/stop/").nth(1).unwrap().split('>').next();
    let outbox = town.courier.outbox();
    outbox.unsubscribe("0123456789abcdef0123456789abcdef").await.unwrap();
    for _ in 0..2 {
        outbox.unsubscribe(token.unwrap()).await.unwrap();
    }
    town.tell("d1/completed", "completed").await;
    let entries = town.settled().await;
    let last = entries.iter().rfind(|it| it.channel.as_str() == "email").unwrap();
    assert_eq!((last.state, town.mail.taken().len()), (State::Suppressed, 1));
}

#[tokio::test]
async fn an_address_book_that_is_away_is_asked_again_and_an_empty_one_is_the_end_of_it() {
    let town = Town::open(quick()).await;
    *town.book.0.lock().unwrap() = Err(NotNow("the accounts are away".to_owned()));
    town.tell("d1/completed", "completed").await;
    until("it was asked", || async {
        let entries = town.courier.outbox().entries("d1").await.unwrap();
        entries.iter().all(|it| it.outcome.is_some()).then_some(())
    })
    .await;
    *town.book.0.lock().unwrap() = Ok(Contact::default());
    let entries = town.settled().await;
    for entry in entries {
        let expected =
            if entry.channel.as_str() == "webhook" { State::Sent } else { State::Unaddressed };
        assert_eq!(entry.state, expected, "{entry:?}");
    }
}

#[tokio::test]
async fn no_file_of_ours_holds_an_address() {
    let town = Town::open(quick()).await;
    town.mail.refuse(EMAIL, 550);
    town.phone.answer_next_with(422);
    town.tell("d1/completed", "completed").await;
    town.settled().await;
    for file in std::fs::read_dir(town.folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for address in [EMAIL, PHONE] {
            let found = bytes.windows(address.len()).any(|it| it == address.as_bytes());
            assert!(!found, "{address} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn what_leaves_over_tls_reaches_whoever_proves_its_name_and_nobody_else() {
    let town = Town::open_by_tls(quick(), [true; 3]).await;
    town.tell("d1/completed", "completed").await;
    assert_eq!(town.states().await, all(State::Sent));
    let taken = (town.mail.taken().len(), town.phone.taken().len(), town.program.taken().len());
    assert_eq!(taken, (1, 1, 1));
    for stranger in 0..3 {
        let mut believed = [true; 3];
        believed[stranger] = false;
        let town = Town::open_by_tls(Patience { attempts_max: 2, ..quick() }, believed).await;
        town.tell("d1/completed", "completed").await;
        let entries = town.settled().await;
        let taken = [town.mail.taken().len(), town.phone.taken().len(), town.program.taken().len()];
        assert_eq!(taken, believed.map(usize::from), "{entries:?}");
        let channel = ["email", "sms", "webhook"][stranger];
        let entry = entries.iter().find(|it| it.channel.as_str() == channel).unwrap();
        assert_eq!((entry.state, entry.attempts), (State::GivenUp, 2), "{entry:?}");
        if channel != "email" {
            let why = "it did not prove who it is: unknown_issuer";
            assert_eq!(entry.outcome.as_deref(), Some(why));
        }
    }
}
