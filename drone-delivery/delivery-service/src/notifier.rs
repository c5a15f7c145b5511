//! Tells customers: reads `notifications`, looks up where each wants to hear of it, writes it down.
//!
//! Out of the box a word to a customer is one line in a file and one in the log; a mail or text
//! gateway would stand here. Addresses go into that file alone, never into a log.

use std::{io, path::PathBuf};

use contracts::shipping::Notification;
use messaging::{Delivered, Failure, Handler};
use serde::Serialize;
use store::Store;
use tokio::{fs::OpenOptions, io::AsyncWriteExt as _};

use crate::store as table;

/// Writes notifications down.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    store: Store,
    file: PathBuf,
}

/// One line of the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(flatten)]
    notification: &'a Notification,
    email_address: Option<String>,
    sms: Option<String>,
}

impl Notifier {
    pub(crate) fn new(store: Store, file: PathBuf) -> Self {
        Self { store, file }
    }

    async fn write(&self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&self.file).await?;
        // One write: lines of two processes do not mix.
        file.write_all(text.as_bytes()).await?;
        file.flush().await
    }
}

impl Handler for Notifier {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let notification: Notification = serde_json::from_slice(&delivered.message.body)
            .map_err(|it| Failure::Rejected(format!("the body cannot be read: {it}")))?;
        let id = notification.delivery_id.clone();
        let asked = self.store.read(move |reader| table::notify_request(reader, &id)).await;
        // Nobody asked, or the addresses were erased since: then there is nobody to tell.
        let Some(asked) = asked.map_err(service_kit::inbox::failure_of)? else { return Ok(()) };
        let line = Line {
            notification: &notification,
            email_address: asked.email_address,
            sms: asked.sms,
        };
        self.write(&line).await.map_err(|it| Failure::Unavailable(it.to_string()))?;
        tracing::info!(
            delivery = notification.delivery_id,
            template = notification.template,
            "customer notified"
        );
        Ok(())
    }
}
