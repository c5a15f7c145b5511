//! The texts, by template and language. Pure.
//!
//! A text holds nothing of its reader but what stands in the notice; a reason of ours is one line,
//! cut short, and in English: who reads another language is told what happened and not half of it in
//! words that are not theirs.

use base::is_printable;

use crate::notice::{Language, Notice};

/// Characters of a reason that are shown.
const REASON_CHARS_MAX: usize = 200;

/// What somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// Subject, and what happened.
fn words(template: &str, language: Language) -> (&'static str, &'static str) {
    match (template, language) {
        ("completed", Language::En) => ("Delivered", "Your package has been delivered."),
        ("completed", Language::Fi) => ("Toimitettu", "Pakettisi on toimitettu."),
        ("failed", Language::En) => ("Not delivered", "Your package could not be delivered."),
        ("failed", Language::Fi) => ("Ei toimitettu", "Pakettiasi ei voitu toimittaa."),
        ("cancelled", Language::En) => ("Cancelled", "Your delivery has been cancelled."),
        ("cancelled", Language::Fi) => ("Peruttu", "Toimituksesi on peruttu."),
        ("refused", Language::En) => {
            ("Change not possible", "The change of your delivery was not possible; it goes on.")
        }
        ("refused", Language::Fi) => {
            ("Muutos ei onnistunut", "Toimitustasi ei voitu muuttaa; se jatkuu ennallaan.")
        }
        ("reassigned", Language::En) => {
            ("Another carrier", "Your package is now brought by another drone or carrier.")
        }
        ("reassigned", Language::Fi) => {
            ("Toinen kuljettaja", "Pakettisi tuo nyt toinen lennokki tai kuljetusliike.")
        }
        ("delayed", Language::En) => ("Delayed", "Your package arrives later than expected."),
        ("delayed", Language::Fi) => ("Myöhässä", "Pakettisi saapuu odotettua myöhemmin."),
        ("confirmation-needed", Language::En) => (
            "Please be at the door",
            "Your package is on its way. Please confirm at the door that you received it.",
        ),
        ("confirmation-needed", Language::Fi) => {
            ("Ole ovella", "Pakettisi on matkalla. Vahvista ovella, että sait sen.")
        }
        (_, Language::En) => ("News", "There is news about your delivery."),
        (_, Language::Fi) => ("Uutta", "Toimituksestasi on uutta tietoa."),
    }
}

const fn labels(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::En => ("Delivery", "No more of these messages"),
        Language::Fi => ("Toimitus", "En halua näitä viestejä"),
    }
}

/// A text of ours in one line.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|it| if is_printable(it) { it } else { ' ' });
    plain.take(REASON_CHARS_MAX).collect()
}

/// A mail.
pub(crate) fn mail(notice: &Notice, language: Language, unsubscribe: Option<&str>) -> Text {
    let (subject, happened) = words(&notice.template, language);
    let (delivery, no_more) = labels(language);
    let mut body = format!("{happened}\n\n{delivery}: {}\n", one_line(&notice.delivery_id));
    if let (Some(why), Language::En) = (&notice.reason, language) {
        body.push_str(&format!("Reason: {}\n", one_line(why)));
    }
    if let Some(link) = unsubscribe {
        body.push_str(&format!("\n{no_more}: {link}\n"));
    }
    Text { subject: subject.to_owned(), body }
}

/// A text message: one sentence, and which delivery.
pub(crate) fn message(notice: &Notice, language: Language) -> String {
    let (_, happened) = words(&notice.template, language);
    format!("{happened} ({})", one_line(&notice.delivery_id))
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    fn notice(template: &str) -> Notice {
        Notice {
            id: "n1".to_owned(),
            delivery_id: "d1".to_owned(),
            owner_id: None,
            template: template.to_owned(),
            reason: Some("no drone can fly it:\r\nBcc: all@example.com".to_owned()),
            occurred_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn each_template_has_words_of_its_own_in_each_language() {
        let mut seen = std::collections::BTreeSet::new();
        let templates = [
            "completed",
            "failed",
            "cancelled",
            "refused",
            "reassigned",
            "delayed",
            "confirmation-needed",
            "something new",
        ];
        for template in templates {
            for language in [Language::En, Language::Fi] {
                let text = mail(&notice(template), language, None);
                assert!(seen.insert(text.subject.clone()), "{template} {language:?}: {text:?}");
                assert!(text.body.contains("d1"), "{text:?}");
            }
        }
    }

    #[test]
    fn a_reason_stays_one_line() {
        let text = mail(&notice("failed"), Language::En, None);
        assert!(text.body.contains("Reason: no drone can fly it:  Bcc: all@example.com\n"));
    }

    #[test]
    fn nobody_gets_a_reason_in_a_language_that_they_did_not_choose() {
        let text = mail(&notice("failed"), Language::Fi, None);
        assert_eq!(text.body, "Pakettiasi ei voitu toimittaa.\n\nToimitus: d1\n");
    }

    #[test]
    fn a_mail_leads_to_where_it_can_be_stopped() {
        let text = mail(&notice("failed"), Language::Fi, Some("https://a.example/stop/1"));
        assert!(text.body.ends_with("En halua näitä viestejä: https://a.example/stop/1\n"));
    }
}
