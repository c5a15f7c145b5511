//! The codes of findings. A code keeps its meaning for ever; a new meaning takes a new number.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What kind of thing is wrong: `SK1…` when a file is read, `SK2…` when it is judged.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as people write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    /// The text is no YAML.
    Syntax = "SK1001",
    /// The file is too large.
    FileTooLarge = "SK1002",
    /// A member that nobody reads.
    UnknownMember = "SK1003",
    /// A kind that nobody reads.
    UnknownKind = "SK1004",
    /// An `apiVersion` that nobody reads.
    UnknownApiVersion = "SK1005",
    /// Text where a number belongs, or the like.
    WrongType = "SK1006",
    /// A number or a length beyond its bounds.
    OutOfRange = "SK1007",
    /// A member that must be there.
    MissingMember = "SK1008",
    /// A second thing of the same name.
    DuplicateName = "SK1009",
    /// The same member twice.
    DuplicateMember = "SK1010",
    /// Anchor, alias or tag.
    Anchor = "SK1011",
    /// Nested too deep.
    TooDeep = "SK1012",
    /// Part of the Gateway API that is not served here.
    NotSupported = "SK1013",
    /// No duration.
    Duration = "SK1014",
    /// A word that is none of those that may stand here.
    UnknownWord = "SK1015",
    /// Text of the wrong form: an address, a host name, a date.
    Malformed = "SK1016",
    /// Two members that exclude each other.
    Contradiction = "SK1017",
    /// No regular expression.
    Pattern = "SK1018",
    /// More of a thing than may be.
    TooMany = "SK1019",
    /// More findings than are shown.
    TooManyFindings = "SK1020",
    /// The name of a thing that is in no file.
    UnknownName = "SK1021",
    /// A rule that no request reaches.
    UnreachableRule = "SK2001",
    /// A rule that leads nowhere.
    NoBackend = "SK2002",
    /// Backends that all weigh nothing.
    ZeroWeights = "SK2003",
    /// A backend without endpoints.
    UnknownBackend = "SK2004",
    /// Retries that the time-out of the request cuts off.
    RetriesBeyondTimeout = "SK2005",
    /// Retries of what may not be repeated.
    UnsafeRetry = "SK2006",
    /// Two routes for the same requests.
    OverlappingRoutes = "SK2007",
    /// A version that ends before it is deprecated.
    SunsetBeforeDeprecation = "SK2008",
    /// A rate limit or a fault for a route that is in no file.
    UnknownRoute = "SK2009",
    /// A fault that stands for ever.
    FaultWithoutExpiry = "SK2010",
    /// A breaker that nothing opens.
    BreakerNeverOpens = "SK2011",
    /// Two listeners on one port.
    PortTwice = "SK2012",
    /// Retries of tries without a time-out.
    RetriesWithoutTryTimeout = "SK2013",
    /// A policy that lets nobody do anything.
    DoorShut = "SK2014",
    /// A rule that lets every known caller do everything.
    DoorOpen = "SK2015",
    /// A condition that is not looked at.
    RepeatedCondition = "SK2016",
    /// Calls that nothing bounds.
    NoTimeout = "SK2017",
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
