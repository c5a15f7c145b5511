//! The modules of a crate and which of them names which, read from the text of its files.
//!
//! Read are `use` and every path that begins with `crate`, `self` or `super`. A name that a module
//! takes from another and hands on leads to where it comes from. What only tests see is left out.

use std::collections::{BTreeMap, BTreeSet};

/// A module by its names from the root of its crate, which has none.
pub(crate) type Module = Vec<String>;

/// The modules of one crate.
#[derive(Default)]
pub(crate) struct Graph {
    modules: BTreeMap<Module, Source>,
}

/// What one file says.
#[derive(Default)]
struct Source {
    children: Vec<String>,
    /// Paths that it names.
    paths: Vec<Vec<String>>,
    /// Names that it takes from elsewhere, with where they come from; `*` for whatever is there.
    names: Vec<(String, Vec<String>)>,
}

impl Graph {
    /// The crate whose root is `file`, such as `apps/skein/src/lib.rs`; `text` gives what a file holds.
    pub(crate) fn read(file: &str, text: &dyn Fn(&str) -> Option<String>) -> Self {
        let (folder, _) = file.rsplit_once('/').unwrap();
        let mut graph = Self::default();
        let mut open = vec![(Module::new(), text(file).unwrap())];
        while let Some((module, content)) = open.pop() {
            let source = Source::of(&tokens(&content));
            for child in &source.children {
                let child = [&module[..], std::slice::from_ref(child)].concat();
                let path = format!("{folder}/{}.rs", child.join("/"));
                // Others are macros' business, or of another operating system.
                open.extend(text(&path).map(|content| (child, content)));
            }
            graph.modules.insert(module, source);
        }
        graph
    }

    /// Each module with each other that it names, but for those that stand in it or that it stands in.
    pub(crate) fn edges(&self) -> BTreeSet<(Module, Module)> {
        let mut edges = BTreeSet::new();
        for (module, source) in &self.modules {
            let taken = source.names.iter().map(|(_, path)| path);
            for path in source.paths.iter().chain(taken) {
                let other = self.home(module, path, 8);
                let is_above = |above: &[String], below: &[String]| below.starts_with(above);
                edges.extend(
                    other
                        .filter(|it| !is_above(it, module) && !is_above(module, it))
                        .map(|other| (module.clone(), other)),
                );
            }
        }
        edges
    }

    /// The module where that lies which `from` calls `path`; `None` in another crate.
    fn home(&self, from: &[String], path: &[String], depth: u32) -> Option<Module> {
        let mut here = from.to_vec();
        let mut rest = path;
        while let Some((first, behind)) = rest.split_first() {
            match first.as_str() {
                "crate" => here.clear(),
                "super" => drop(here.pop()),
                "self" => {}
                name => {
                    let child = [&here[..], std::slice::from_ref(first)].concat();
                    if self.modules.contains_key(&child) {
                        here = child;
                    } else if std::ptr::eq(rest, path) {
                        // Neither ours nor below us: another crate, or a name that was taken.
                        return None;
                    } else {
                        return Some(self.taken(&here, name, depth).unwrap_or(here));
                    }
                }
            }
            rest = behind;
        }
        Some(here)
    }

    /// Where a name comes from that a module hands on.
    fn taken(&self, module: &Module, name: &str, depth: u32) -> Option<Module> {
        let names = &self.modules.get(module)?.names;
        let depth = depth.checked_sub(1)?;
        let (_, path) = names.iter().find(|(taken, _)| taken == name)?;
        self.home(module, path, depth)
    }
}

impl Source {
    fn of(tokens: &[String]) -> Self {
        let mut source = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            let words: Vec<&str> = rest.iter().take(7).map(String::as_str).collect();
            match words[..] {
                ["#", "[", "cfg", "(", "test", ")", "]"] => at += 7 + item(&rest[7..]),
                ["mod", name, ";", ..] => {
                    source.children.push(name.to_owned());
                    at += 3;
                }
                ["use", ..] => {
                    at += 1;
                    source.tree(tokens, &mut at, &[]);
                }
                ["crate" | "self" | "super", "::", ..] => {
                    let mut path = vec![rest[0].clone()];
                    at += 1;
                    while tokens.get(at).is_some_and(|it| it == "::")
                        && tokens.get(at + 1).is_some_and(|it| is_word(it))
                    {
                        path.push(tokens[at + 1].clone());
                        at += 2;
                    }
                    source.paths.push(path);
                }
                _ => at += 1,
            }
        }
        source
    }

    /// One tree of a `use`, such as `a::{b, c as d}`.
    fn tree(&mut self, tokens: &[String], at: &mut usize, before: &[String]) {
        let mut path = before.to_vec();
        while let Some(token) = tokens.get(*at).map(String::as_str) {
            *at += 1;
            match token {
                "::" => {}
                "{" => {
                    loop {
                        match tokens.get(*at).map(String::as_str) {
                            None | Some(";") => return,
                            Some("}") => break *at += 1,
                            Some(",") => *at += 1,
                            Some(_) => self.tree(tokens, at, &path),
                        }
                    }
                    return;
                }
                "as" => {
                    let name = tokens.get(*at).cloned().unwrap_or_default();
                    *at += 1;
                    self.names.push((name, path));
                    return;
                }
                "," | "}" | ";" => {
                    *at -= 1;
                    break;
                }
                "self" if !path.is_empty() => {}
                word => path.push(word.to_owned()),
            }
        }
        if path.last().is_some_and(|it| it == "*") {
            path.pop();
            self.names.push(("*".to_owned(), path));
        } else if let Some(name) = path.last().cloned() {
            self.names.push((name, path));
        }
    }
}

/// Tokens of the item that comes next.
fn item(tokens: &[String]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token == "}" {
                    return index + 1;
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|it: char| it.is_alphabetic() || it == '_')
}

/// Words, `::` and single characters; neither comments nor texts.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = text(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
            let length = length.unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Bytes of the text, raw text, character or lifetime that the source begins with.
fn text(source: &str) -> Option<usize> {
    let bytes = source.strip_prefix('b').unwrap_or(source);
    if let Some(raw) = bytes.strip_prefix('r') {
        let hashes = raw.bytes().take_while(|it| *it == b'#').count();
        let begun = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = begun.find(&end).map_or(begun.len(), |it| it + end.len());
        return Some(source.len() - begun.len() + length);
    }
    let quote = source.chars().next().filter(|it| matches!(it, '"' | '\''))?;
    let mut characters = source.char_indices().skip(1);
    if quote == '\'' && !source.starts_with("'\\") {
        // A character has its end behind it; a lifetime has none.
        let (_, character) = characters.next()?;
        let end = 1 + character.len_utf8();
        return Some(if source[end..].starts_with('\'') { end + 1 } else { 1 });
    }
    while let Some((index, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(index + 1);
        }
    }
    Some(source.len())
}
