//! Between what is said on `notifications` and those who tell people: which notice it is, and where
//! its reader wants to be told.
//!
//! How a delivery ended is told once, whether Delivery says so or the workflow that made it. Who
//! asked about this delivery is told where they said; else its owner is, where the account says.

use std::time::Duration;

use contracts::{event, shipping::Notification};
use messaging::{Delivered, Failure, Handler};
use notifications::{AddressBook, Contact, Courier, Language, NotNow, Notice, OutboxError};
use serde_json::Value;
use service_kit::{Call, Client, Deadline, inbox, segment};
use store::{Store, WriteError};

use crate::store::{self as table, NotifyRequest};

/// Texts that say how a delivery ended.
const ENDS: [&str; 3] = ["completed", "cancelled", "failed"];
/// Longest wait for the account of an owner.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(2);

/// Takes notifications in.
#[derive(Debug, Clone)]
pub(crate) struct Notifier(pub(crate) Courier<Contacts>);

impl Handler for Notifier {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let notification: Notification = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        let told = self.0.tell(notice(notification, &message.source, &message.id)).await;
        told.map_err(|error| match error {
            WriteError::Refused(OutboxError::Sql(error)) => inbox::failure_of(error),
            // Later there is room: until then it waits in the log.
            other => Failure::Unavailable(other.to_string()),
        })
    }
}

fn notice(said: Notification, source: &str, message_id: &str) -> Notice {
    let is_end = ENDS.contains(&said.template.as_str());
    let id = if is_end {
        format!("{}/{}", said.delivery_id, said.template)
    } else {
        format!("{source}/{message_id}")
    };
    Notice {
        id,
        delivery_id: said.delivery_id,
        owner_id: said.owner_id,
        template: said.template,
        reason: said.reason,
        occurred_at: said.occurred_at,
    }
}

/// Knows who asked about a delivery, and asks Account about owners.
#[derive(Debug, Clone)]
pub(crate) struct Contacts {
    pub(crate) store: Store,
    pub(crate) client: Client,
}

impl AddressBook for Contacts {
    async fn look_up(&self, notice: &Notice) -> Result<Contact, NotNow> {
        let id = notice.delivery_id.clone();
        let found = self.store.read(move |reader| {
            let owner = table::find(reader, &id)?.map(|it| it.order.owner.account_id);
            Ok((table::notify_request(reader, &id)?, owner))
        });
        let (asked, owner) = found.await.map_err(|it| NotNow(it.to_string()))?;
        let owner = owner.or_else(|| notice.owner_id.clone());
        // Who asked for another's before it was there is told nothing of it.
        let asked = asked.filter(|it| it.asker.is_none() || it.asker == owner);
        if let Some(asked) = asked {
            return Ok(asked.into());
        }
        match owner {
            Some(owner) => self.of_account(&owner).await,
            None => Ok(Contact::default()),
        }
    }
}

impl Contacts {
    async fn of_account(&self, owner: &str) -> Result<Contact, NotNow> {
        let call = Call::get("account", format!("/api/accounts/{}", segment(owner)))
            .route("/api/accounts/{id}")
            .within(Deadline::after(ACCOUNT_WITHIN));
        let reply = self.client.call(call).await.map_err(|it| NotNow(it.to_string()))?;
        match reply.status.as_u16() {
            200 => {
                let account = reply.json().unwrap_or_default();
                Ok(contact_of(&account))
            }
            // Nobody registered it, or no account can be called so.
            400 | 404 => Ok(Contact::default()),
            status => Err(NotNow(format!("account answers {status}"))),
        }
    }
}

fn contact_of(account: &Value) -> Contact {
    let given = |name: &str| {
        let text = account[name].as_str().map(str::trim).filter(|it| !it.is_empty());
        text.map(str::to_owned)
    };
    Contact {
        email: given("emailAddress"),
        sms: given("sms"),
        language: Language::of(account["language"].as_str().unwrap_or_default()),
    }
}

impl From<NotifyRequest> for Contact {
    fn from(asked: NotifyRequest) -> Self {
        Self { email: asked.email_address, sms: asked.sms, language: Language::of(&asked.language) }
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use serde_json::json;

    use super::*;

    fn said(template: &str) -> Notification {
        Notification {
            delivery_id: "d1".to_owned(),
            owner_id: Some("o1".to_owned()),
            template: template.to_owned(),
            reason: None,
            occurred_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn an_end_is_one_notice_whoever_says_it_and_anything_else_one_a_message() {
        let id = |template: &str, source: &str| notice(said(template), source, "m1").id;
        assert_eq!(id("failed", "/services/delivery"), id("failed", "/services/supervisor"));
        assert_ne!(id("refused", "/services/delivery"), id("refused", "/services/supervisor"));
    }

    #[test]
    fn an_account_that_left_its_addresses_out_has_none() {
        let account = json!({"emailAddress": " ", "sms": "+358", "language": "fi"});
        let contact = contact_of(&account);
        assert_eq!((contact.email, contact.sms.as_deref()), (None, Some("+358")));
        assert_eq!(contact.language, Language::Fi);
        assert!(contact_of(&Value::Null).is_empty());
    }
}
