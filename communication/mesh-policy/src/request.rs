//! A request, as far as decisions ask about it.

/// What a rule can ask about a request.
pub trait RequestView {
    /// Method, in the case that it came in.
    fn method(&self) -> &str;
    /// Host without port, in lower case ([`crate::authority`]); empty when there is none.
    fn host(&self) -> &str;
    /// Normalised path ([`crate::path`]).
    fn path(&self) -> &str;
    /// Query without the question mark.
    fn query(&self) -> Option<&str>;
    /// The first value of a field whose name is given in lower case, when it is visible ASCII.
    fn header(&self, name: &str) -> Option<&str>;
}
