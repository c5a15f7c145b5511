//! HPACK (RFC 7541) for peers that always send the same headers: the first block on a connection
//! puts them into the dynamic table, later ones name them by a byte each, as a usual encoder would.
//! Nothing is decoded: a reply counts when its block starts with the static `:status: 200`.

/// First index of the dynamic table.
const DYNAMIC: usize = 62;
/// `:status: 200` in the static table.
const STATUS_200: u8 = 0x88;
/// Size of the table that the headers here need; the protocol's own default is 4,096. A peer that
/// keeps a smaller one gets every header in words.
const TABLE_MIN: u32 = 1_024;

/// A header field as the encoder is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    /// Name and value stand in the static table.
    Known(u8),
    /// The name stands in the static table.
    Named(u8, &'a str),
    /// Neither does.
    New(&'a str, &'a str),
}

/// How the next block is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    First,
    Later,
    InWords,
}

/// Header blocks of one request or reply.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    first: Vec<Vec<u8>>,
    later: Vec<Vec<u8>>,
    in_words: Vec<Vec<u8>>,
    form: Form,
}

impl Blocks {
    /// Blocks that are always sent in this order without another between them.
    pub(crate) fn new(blocks: &[&[Field<'_>]]) -> Self {
        let is_added = |it: &&Field<'_>| !matches!(it, Field::Known(_));
        let mut index = DYNAMIC + blocks.iter().flat_map(|it| it.iter()).filter(is_added).count();
        let (mut firsts, mut laters, mut in_words) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            let (mut first, mut later) = (Vec::new(), Vec::new());
            // Whoever writes without a table says so at the start of a block (section 4.2).
            let mut words = vec![0x20];
            for field in *block {
                put(&mut first, field, Keep::InTable);
                put(&mut words, field, Keep::Nowhere);
                if let Field::Known(known) = field {
                    later.push(0x80 | known);
                } else {
                    // What was added first has the highest index.
                    index -= 1;
                    later.push(0x80 | u8::try_from(index).unwrap_or_default());
                }
            }
            firsts.push(first);
            laters.push(later);
            in_words.push(words);
        }
        Self { first: firsts, later: laters, in_words, form: Form::First }
    }

    /// The peer keeps a table of so many bytes.
    pub(crate) fn table_size(&mut self, bytes: u32) {
        if bytes < TABLE_MIN {
            self.form = Form::InWords;
        }
    }

    pub(crate) fn block(&self, which: usize) -> &[u8] {
        match self.form {
            Form::First => &self.first[which],
            Form::Later => &self.later[which],
            Form::InWords => &self.in_words[which],
        }
    }

    /// All blocks were sent once.
    pub(crate) fn sent(&mut self) {
        if self.form == Form::First {
            self.form = Form::Later;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Keep {
    InTable,
    Nowhere,
}

/// A byte of the static table, or a literal.
fn put(out: &mut Vec<u8>, field: &Field<'_>, keep: Keep) {
    match *field {
        Field::Known(index) => out.push(0x80 | index),
        Field::Named(index, value) => {
            match keep {
                Keep::InTable => out.push(0x40 | index),
                // Four bits hold 0 to 14; 15 says that the rest follows.
                Keep::Nowhere if index < 15 => out.push(index),
                Keep::Nowhere => out.extend_from_slice(&[15, index - 15]),
            }
            put_text(out, value);
        }
        Field::New(name, value) => {
            out.push(if matches!(keep, Keep::InTable) { 0x40 } else { 0 });
            put_text(out, name);
            put_text(out, value);
        }
    }
}

/// Appends a field that is different each time and stays out of the table.
pub(crate) fn put_once(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x00);
    put_text(out, name);
    put_text(out, value);
}

/// A string without Huffman coding; all of ours are shorter than 127 bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or_default());
    out.extend_from_slice(text.as_bytes());
}

/// Whether a block starts with status 200, behind changes of the table's size.
pub(crate) fn is_ok(mut block: &[u8]) -> bool {
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|it| it & 0x80 == 0).map_or(block.len(), |it| it + 1);
            block = &block[end..];
        }
    }
    block.first() == Some(&STATUS_200)
}

/// Whether trailers say `grpc-status: 0`: in words, with Huffman coding or without, or, on a
/// connection where they once did, by one byte of the dynamic table.
pub(crate) fn is_grpc_ok(block: &[u8], said_before: bool) -> bool {
    const PLAIN: &[u8] = b"\x0bgrpc-status";
    const CODED: &[u8] = b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f";
    let zero = |name: &[u8]| {
        let at = block.windows(name.len()).position(|it| it == name)?;
        let value = &block[at + name.len()..];
        Some(value.starts_with(b"\x010") || value.starts_with(b"\x81\x07"))
    };
    zero(PLAIN).or_else(|| zero(CODED)).unwrap_or_else(|| {
        said_before && block.len() <= 2 && block.first().is_some_and(|it| *it > 0x80 + 61)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_blocks_name_what_the_first_ones_added() {
        let (head, trailers) = (
            [Field::Known(8), Field::Named(31, "x"), Field::New("a", "b")],
            [Field::New("c", "d")],
        );
        let mut blocks = Blocks::new(&[&head, &trailers]);
        assert_eq!(blocks.block(0), b"\x88\x5f\x01x\x40\x01a\x01b");
        blocks.sent();
        assert_eq!(blocks.block(0), [0x88, 0x80 | 64, 0x80 | 63]);
        assert_eq!(blocks.block(1), [0x80 | 62]);
    }

    #[test]
    fn a_peer_without_a_table_gets_every_header_in_words() {
        let mut blocks =
            Blocks::new(&[&[Field::Known(8), Field::Named(31, "x"), Field::New("a", "b")]]);
        blocks.table_size(0);
        blocks.sent();
        assert_eq!(blocks.block(0), b"\x20\x88\x0f\x10\x01x\x00\x01a\x01b");
    }

    #[test]
    fn only_status_200_is_a_success() {
        assert!(is_ok(&[0x88, 0x01]));
        assert!(is_ok(&[0x20, 0x3f, 0xe1, 0x1f, 0x88]));
        assert!(!is_ok(&[0x8d]));
        assert!(!is_ok(&[0x3f, 0xff]));
        assert!(!is_ok(&[]));
    }

    #[test]
    fn only_grpc_status_zero_is_a_success() {
        assert!(is_grpc_ok(b"\x40\x0bgrpc-status\x010", false));
        assert!(is_grpc_ok(b"\x40\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x81\x07", false));
        assert!(!is_grpc_ok(b"\x40\x0bgrpc-status\x0214", true));
        assert!(!is_grpc_ok(&[0xbe], false));
        assert!(is_grpc_ok(&[0xbe], true));
    }
}
