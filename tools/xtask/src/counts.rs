//! Counts tests by the closing lines of cargo's two runners.

/// What ran so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    not_run: u64,
}

impl Counts {
    /// Takes in one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let is_closing =
            line.trim_start().starts_with("Summary [") || line.starts_with("test result:");
        if is_closing {
            self.passed += number_before(&line, " passed");
            self.failed += number_before(&line, " failed") + number_before(&line, " timed out");
        }
        // A test that lacks its peer says so and passes; it is counted as what it is.
        if line.trim_start().starts_with("not run: ") {
            self.not_run += 1;
        }
    }

    /// The plain closing line. A run that died before its own closing line failed at least once.
    pub(crate) fn line(self, succeeded: bool) -> String {
        let failed = if succeeded { self.failed } else { self.failed.max(1) };
        let passed = self.passed.saturating_sub(self.not_run);
        format!("tests: {passed} passed, {failed} failed, {} skipped", self.not_run)
    }
}

fn number_before(line: &str, word: &str) -> u64 {
    let Some(end) = line.find(word) else { return 0 };
    let digits = line[..end].rsplit(|it: char| !it.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('\u{1b}') {
        plain.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('m') else { return plain };
        rest = &rest[start + end + 1..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let mut counts = Counts::default();
        counts.read(
            "     Summary [   0.327s] 24 tests run: 22 passed, 1 failed, 1 timed out, 0 skipped",
        );
        counts.read("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.read("    not run: the peer is absent");
        counts.read("a line that says 7 passed");
        assert_eq!(counts.line(true), "tests: 24 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn colours_do_not_hide_a_count() {
        let mut counts = Counts::default();
        counts.read(
            "\u{1b}[32m     Summary\u{1b}[0m [ 0.3s] 2 tests run: \u{1b}[1m2\u{1b}[0m passed",
        );
        assert_eq!(counts.line(true), "tests: 2 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_run_that_died_silently_is_a_failure() {
        assert_eq!(Counts::default().line(false), "tests: 0 passed, 1 failed, 0 skipped");
    }
}
