//! Parameters of the operators' pages: one with a slip in its name would else be ignored.

use base::Code;

use crate::problem::Problem;

/// Names and values of a query, decoded, as they came.
pub(crate) type Pairs = Vec<(String, String)>;

/// The parameters of a page.
#[derive(Debug)]
pub(crate) struct Parameters(Pairs);

impl Parameters {
    /// Those that may come once, and those that may come more often.
    ///
    /// # Errors
    /// Another one is there, or one of the first comes twice; it is named.
    pub(crate) fn read(pairs: Pairs, once: &[&str], often: &[&str]) -> Result<Self, Problem> {
        let invalid = |detail: String| Err(Problem::of(Code::InvalidRequest, detail));
        for (place, (name, _)) in pairs.iter().enumerate() {
            if often.contains(&&**name) {
                continue;
            }
            if !once.contains(&&**name) {
                let known = [once, often].concat().join(", ");
                return invalid(format!("no parameter is called `{name}`; there are {known}"));
            }
            if pairs[..place].iter().any(|(before, _)| before == name) {
                return invalid(format!("the parameter `{name}` comes twice"));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of one that comes once.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of one, in their order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, Problem> {
        let pairs = pairs.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        Parameters::read(pairs.collect(), &["path"], &["header"])
    }

    #[test]
    fn a_parameter_that_is_not_known_or_comes_twice_is_refused_by_name() {
        for bad in [&[("pth", "/x")][..], &[("path", "/x"), ("path", "/y")]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let good = read(&[("header", "a: 1"), ("path", "/x"), ("header", "b: 2")]).unwrap();
        assert_eq!((good.get("path"), good.get("host")), (Some("/x"), None));
        assert_eq!(good.all("header").collect::<Vec<_>>(), ["a: 1", "b: 2"]);
    }
}
