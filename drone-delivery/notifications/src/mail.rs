//! Mail by SMTP. The library speaks the protocol and writes the message; a connection serves one
//! mail, so that nothing is kept that a server may have closed.

use std::{fs, path::Path, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use tokio::time::timeout;

use crate::{
    config::{ConfigError, SmtpConfig, SmtpTls},
    text::Text,
    verdict::{Verdict, of_smtp},
};

/// Sends mails by one server.
#[derive(Debug, Clone)]
pub(crate) struct Mailer {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// For one mail, from the connection to the server's last word: the library bounds the connecting alone.
    timeout: Duration,
}

impl Mailer {
    /// None when no server is set.
    pub(crate) fn new(
        config: &SmtpConfig,
        timeout: Duration,
        authorities: Option<&Path>,
    ) -> Result<Option<Self>, ConfigError> {
        if config.host.is_empty() {
            return Ok(None);
        }
        let from = config.from.parse().map_err(|_| ConfigError::Sender)?;
        let parameters = || {
            let mut parameters = TlsParameters::builder(config.host.clone());
            if let Some(path) = authorities {
                let text = fs::read(path).map_err(|_| ConfigError::Smtp)?;
                let named = Certificate::from_pem(&text).map_err(|_| ConfigError::Smtp)?;
                parameters = parameters.add_root_certificate(named);
            }
            parameters.build().map_err(|_| ConfigError::Smtp)
        };
        let tls = match config.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(parameters()?),
            SmtpTls::Tls => Tls::Wrapper(parameters()?),
        };
        let server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str());
        let mut server = server.port(config.port).tls(tls).timeout(Some(timeout));
        if !config.user.is_empty() {
            server =
                server.credentials(Credentials::new(config.user.clone(), config.password.clone()));
        }
        Ok(Some(Self { server: server.build(), from, timeout }))
    }

    /// Sends one mail under an id that is the same at each try, so that readers can tell doubles.
    pub(crate) async fn send(
        &self,
        to: &str,
        id: &str,
        text: &Text,
        unsubscribe: Option<&str>,
    ) -> Verdict {
        let Ok(address) = to.trim().parse::<Address>() else {
            return Verdict::Bounced("it is no mail address".to_owned());
        };
        let Ok(mail) = self.write(address, id, text, unsubscribe) else {
            return Verdict::Refused("the mail cannot be written".to_owned());
        };
        let too_late = || Verdict::Later("the mail server did not answer in time".to_owned());
        match timeout(self.timeout, self.server.send(mail)).await {
            Err(_) => too_late(),
            Ok(Ok(_)) => Verdict::Sent,
            // The server's words may hold the address: its code says enough.
            Ok(Err(error)) => match error.status() {
                Some(code) => of_smtp(u16::from(code)),
                None if error.is_timeout() => too_late(),
                None => Verdict::Later("the mail server cannot be reached".to_owned()),
            },
        }
    }

    fn write(
        &self,
        to: Address,
        id: &str,
        text: &Text,
        unsubscribe: Option<&str>,
    ) -> Result<Message, lettre::error::Error> {
        let host = self.from.email.domain();
        let mut mail = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(text.subject.clone())
            .message_id(Some(format!("<{id}@{host}>")))
            .header(header::ContentType::TEXT_PLAIN);
        if let Some(link) = unsubscribe {
            mail = mail.header(ListUnsubscribe(format!("<{link}>")));
            mail = mail.header(ListUnsubscribePost);
        }
        mail.body(text.body.clone())
    }
}

/// Where a mail program lets its reader say no more (RFC 2369).
#[derive(Debug, Clone)]
struct ListUnsubscribe(String);

impl header::Header for ListUnsubscribe {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), self.0.clone())
    }
}

/// That one `POST` there is enough (RFC 8058).
#[derive(Debug, Clone)]
struct ListUnsubscribePost;

impl header::Header for ListUnsubscribePost {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}
