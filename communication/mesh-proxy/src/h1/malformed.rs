//! Why a message is refused.

macro_rules! reasons {
    ($($(#[$about:meta])* $variant:ident = $status:literal, $code:literal, $reason:literal;)*) => {
        /// Why a message is refused. The connection that it came on cannot be read any further.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Malformed {
            $($(#[$about])* #[doc = concat!("Answered with ", stringify!($status), ".")]
            #[error($reason)] $variant,)*
        }

        impl Malformed {
            /// Every reason: what a metric has a series for.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The status for a client that sent it: 400, 414, 431, 501 or 505.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// A short name, stable, for metrics, logs and problem bodies.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// A sentence without its full stop.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)* }
            }
        }
    };
}

reasons! {
    /// More than one empty line before a request.
    EmptyLines = 400, "empty_lines", "there are empty lines before the request";
    /// A carriage return without its line feed.
    BareCarriageReturn = 400, "bare_cr", "a carriage return stands alone";
    /// A line feed without its carriage return.
    BareLineFeed = 400, "bare_lf", "a line ends without a carriage return";
    /// Not method, target and version with one space between.
    RequestLine = 400, "bad_request_line", "the request line is malformed";
    /// A method that nobody implements.
    MethodTooLong = 501, "method_too_long", "the method is longer than any that is known";
    /// A target with a fragment, a space, a byte outside ASCII, or of no form of RFC 9112 3.2.
    Target = 400, "bad_target", "the request target is malformed";
    /// A target over the limit.
    TargetTooLong = 414, "target_too_long", "the request target is too long";
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version = 505, "bad_version", "only HTTP/1.0 and HTTP/1.1 are spoken here";
    /// Not version, status and reason.
    StatusLine = 400, "bad_status_line", "the status line is malformed";
    /// A head over the limit.
    HeadTooLarge = 431, "head_too_large", "the head of the message is too large";
    /// More field lines than the limit.
    TooManyFields = 431, "too_many_fields", "there are too many header fields";
    /// A line that goes on with the field before it (`obs-fold`), or white space before the first.
    FoldedField = 400, "folded_field", "a header field is folded over two lines";
    /// A line without a colon, or with a name that is no token.
    FieldName = 400, "bad_field_name", "the name of a header field is malformed";
    /// A line that begins with its colon.
    FieldNameEmpty = 400, "empty_field_name", "a header field has no name";
    /// White space between a name and its colon.
    SpaceBeforeColon = 400, "space_before_colon", "there is white space before a colon";
    /// A control character in a value.
    FieldValue = 400, "bad_field_value", "the value of a header field holds a control character";
    /// HTTP/1.1 without Host.
    HostMissing = 400, "host_missing", "there is no Host field";
    /// More than one Host, equal ones too.
    HostRepeated = 400, "host_repeated", "there is more than one Host field";
    /// A Host or an authority that is no host with an optional port.
    Host = 400, "bad_host", "the host is malformed";
    /// A Host that names something else than the target does.
    HostConflict = 400, "host_conflict", "the Host field and the target name different hosts";
    /// A Content-Length that is not one plain decimal number.
    ContentLength = 400, "bad_content_length", "the Content-Length is not one plain number";
    /// More than one Content-Length, equal ones too.
    ContentLengthRepeated = 400, "content_length_repeated", "there is more than one Content-Length";
    /// Both ways to say where the body ends.
    LengthAndCoding = 400, "length_and_coding",
        "there are a Content-Length and a Transfer-Encoding";
    /// A Transfer-Encoding that does not end in `chunked`, or hides it.
    TransferEncoding = 400, "bad_transfer_encoding", "the Transfer-Encoding is not chunked";
    /// More than one Transfer-Encoding.
    TransferEncodingRepeated = 400, "transfer_encoding_repeated",
        "there is more than one Transfer-Encoding";
    /// A Transfer-Encoding in HTTP/1.0, which has none.
    TransferEncodingVersion = 400, "transfer_encoding_in_1_0",
        "HTTP/1.0 has no Transfer-Encoding";
    /// A coding before `chunked` that is not decoded here.
    UnknownCoding = 501, "unknown_coding", "the transfer coding is not implemented";
    /// A body where there can be none: 1xx and 204.
    BodyForbidden = 400, "body_forbidden", "a response that has no body announces one";
    /// A Connection field with something else than tokens, or with too many of them.
    Connection = 400, "bad_connection", "the Connection field is malformed";
    /// A Connection field that lists a field which is meant for everybody.
    ConnectionStrips = 400, "connection_strips",
        "the Connection field lists a field that must not be removed";
    /// A chunk size that is no hexadecimal number, or a line that goes on after it.
    ChunkSize = 400, "bad_chunk_size", "the size of a chunk is malformed";
    /// More than 16 digits.
    ChunkSizeTooLong = 400, "chunk_size_too_long", "the size of a chunk has too many digits";
    /// A control character in a chunk extension.
    ChunkExtension = 400, "bad_chunk_extension", "a chunk extension is malformed";
    /// Chunk extensions over their bounds.
    ChunkExtensionTooLong = 400, "chunk_extension_too_long", "the chunk extensions are too long";
    /// Data longer than its chunk said.
    ChunkEnd = 400, "bad_chunk_end", "a chunk does not end where it said";
    /// Trailers over the limit.
    TrailersTooLarge = 431, "trailers_too_large", "the trailers are too large";
    /// A trailer that frames, routes or authorises: too late for that.
    TrailerForbidden = 400, "trailer_forbidden", "a field is not allowed in trailers";
}
