//! Blocks of fields as they come in.

use super::{TABLE_BYTES, huffman, integer, table::Table};

/// A block that cannot be read. The tables of both ends no longer agree: the connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of fields is broken")]
pub(crate) struct Invalid;

/// Reads the blocks of one connection, in order.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE_BYTES), name: Vec::new(), value: Vec::new() }
    }
}

/// How a field says what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literal {
    Indexed,
    Plain,
}

impl Decoder {
    /// Reads a whole block and hands on each name and value.
    ///
    /// # Errors
    /// [`Invalid`]: an index that names nothing, text that is cut off, a table larger than allowed.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Invalid> {
        let mut has_begun = false;
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let (index, rest) = integer::read(block, 7).ok_or(Invalid)?;
                let (name, value) = self.table.get(index).ok_or(Invalid)?;
                take(name, value);
                block = rest;
            } else if first & 0x40 != 0 {
                block = self.literal(block, 6, Literal::Indexed, &mut take)?;
            } else if first & 0x20 != 0 {
                // The size may change at the beginning of a block alone (RFC 7541 4.2).
                let (bytes_max, rest) = integer::read(block, 5).ok_or(Invalid)?;
                if has_begun || bytes_max > TABLE_BYTES {
                    return Err(Invalid);
                }
                self.table.resize(bytes_max);
                block = rest;
                continue;
            } else {
                block = self.literal(block, 4, Literal::Plain, &mut take)?;
            }
            has_begun = true;
        }
        Ok(())
    }

    fn literal<'a>(
        &mut self,
        block: &'a [u8],
        bits: u32,
        kind: Literal,
        take: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<&'a [u8], Invalid> {
        let (index, block) = integer::read(block, bits).ok_or(Invalid)?;
        let (name, block) = if index > 0 {
            // Put in, the field may push out the entry that it takes its name from.
            let (name, _) = self.table.get(index).ok_or(Invalid)?;
            self.name.clear();
            self.name.extend_from_slice(name);
            (None, block)
        } else {
            text(block, &mut self.name)?
        };
        let (value, block) = text(block, &mut self.value)?;
        let name = name.unwrap_or(&self.name);
        let value = value.unwrap_or(&self.value);
        take(name, value);
        if kind == Literal::Indexed {
            self.table.insert(name, value);
        }
        Ok(block)
    }
}

/// A piece of text: as it stands, or `None` when it was decoded into `scratch`.
fn text<'a>(
    block: &'a [u8],
    scratch: &mut Vec<u8>,
) -> Result<(Option<&'a [u8]>, &'a [u8]), Invalid> {
    let is_coded = block.first().is_some_and(|it| it & 0x80 != 0);
    let (length, block) = integer::read(block, 7).ok_or(Invalid)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Invalid)?;
    if !is_coded {
        return Ok((Some(text), rest));
    }
    scratch.clear();
    huffman::decode(text, scratch).ok_or(Invalid)?;
    Ok((None, rest))
}

#[cfg(test)]
impl Decoder {
    pub(super) fn table_bytes(&self) -> usize {
        self.table.bytes()
    }
}
