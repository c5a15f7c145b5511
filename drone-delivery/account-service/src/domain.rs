//! What an account is and what may be done with it. Pure: no clock, no I/O.
//!
//! An account belongs to the Accounts context; Shipping refers to it by its id and asks one
//! question, whether it is active. A suspended account is the article's example of a failure that
//! will not go away by itself.

use std::fmt;

use base::{NotAnId, is_id};
pub(crate) use contracts::accounts::AccountStatus;

/// Characters of a name or an address.
const TEXT_CHARS_MAX: usize = 320;

/// Names an account: any text a client chose, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountId(String);

/// Why an account cannot be as it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    /// It has no id that can be one.
    #[error(transparent)]
    Id(#[from] NotAnId),
    /// A text is too long, or holds control characters.
    #[error("at most {TEXT_CHARS_MAX} characters, none of them a control character")]
    Text {
        /// The member, as clients spell it.
        member: &'static str,
    },
}

impl AccountId {
    /// Takes an id that a client sent.
    ///
    /// # Errors
    /// [`AccountError::Id`].
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, AccountError> {
        let text = text.into();
        if is_id(&text) { Ok(Self(text)) } else { Err(NotAnId.into()) }
    }

    /// The text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) id: AccountId,
    /// How people call it.
    pub(crate) display_name: String,
    /// Where notifications go; empty for none.
    pub(crate) email_address: String,
    /// Number for text messages; empty for none.
    pub(crate) sms: String,
    /// What its people read, as a language tag such as `fi`; empty for English.
    pub(crate) language: String,
    /// Whether it may ship.
    pub(crate) status: AccountStatus,
    /// Whether a business is behind it.
    pub(crate) registered_business: bool,
}

impl Account {
    /// The account that profile `demo` makes up for an owner whom nobody registered.
    #[must_use]
    pub(crate) fn registered_on_first_use(id: AccountId) -> Self {
        Self {
            display_name: id.as_str().to_owned(),
            id,
            email_address: String::new(),
            sms: String::new(),
            language: String::new(),
            status: AccountStatus::Active,
            registered_business: false,
        }
    }

    /// Whether the account may ship: the question that a delivery asks.
    #[must_use]
    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.status, AccountStatus::Active)
    }

    /// Checks the texts, all of them, so that a client learns of every mistake at once.
    ///
    /// # Errors
    /// One [`AccountError::Text`] for each text that does not fit.
    pub(crate) fn check(&self) -> Result<(), Vec<AccountError>> {
        let texts = [
            ("displayName", &self.display_name),
            ("emailAddress", &self.email_address),
            ("sms", &self.sms),
            ("language", &self.language),
        ];
        let wrong: Vec<AccountError> = texts
            .into_iter()
            .filter(|(_, text)| !is_plain(text, TEXT_CHARS_MAX))
            .map(|(member, _)| AccountError::Text { member })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account::registered_on_first_use(AccountId::new("myowner").unwrap())
    }

    #[test]
    fn any_readable_text_names_an_account() {
        assert!(AccountId::new("myowner").is_ok());
        assert!(AccountId::new("a/b c@d").is_ok());
        for text in ["", "  ", "a\nb", &"a".repeat(201)] {
            assert_eq!(AccountId::new(text), Err(NotAnId.into()), "{text:?}");
        }
    }

    #[test]
    fn only_an_active_account_may_ship() {
        assert!(account().is_active());
        assert!(!Account { status: AccountStatus::Suspended, ..account() }.is_active());
    }

    #[test]
    fn every_wrong_text_is_named() {
        let wrong = Account { display_name: "a\rb".to_owned(), sms: "1".repeat(321), ..account() };
        let members =
            [AccountError::Text { member: "displayName" }, AccountError::Text { member: "sms" }];
        assert_eq!(wrong.check(), Err(members.into()));
        assert_eq!(account().check(), Ok(()));
    }
}
