//! A mapping whose members are known: everything else in it is an error.

use super::{
    Code,
    context::Context,
    origin::Spot,
    yaml::{Node, Value},
};

/// A mapping with its members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) context: &'a Context<'a>,
    /// What it is, for a sentence: "a rule".
    what: &'static str,
    node: &'a Node,
}

impl<'a> Section<'a> {
    /// The mapping, once each member that is not known has been told.
    pub(super) fn of(
        context: &'a Context<'a>,
        node: &'a Node,
        what: &'static str,
        known: &[&str],
    ) -> Option<Self> {
        let Value::Map(members) = &node.value else {
            let message = format!("{what} is a mapping, this is {}", node.describe());
            context.error(node.spot, Code::WrongType, message);
            return None;
        };
        for member in members.iter().filter(|it| !known.contains(&it.name.as_str())) {
            let message = format!("{what} has no member `{}`", member.name);
            let words = (member.name.as_str(), known);
            context.error_near(member.spot, Code::UnknownMember, message, words);
        }
        Some(Self { context, what, node })
    }

    /// The mapping whatever its members; without members where it is none.
    pub(super) fn any(context: &'a Context<'a>, node: &'a Node) -> Self {
        Self { context, what: "a document", node }
    }

    /// Where the mapping begins.
    pub(super) fn spot(&self) -> Spot {
        self.node.spot
    }

    /// Where the name of a member stands; the mapping's place where there is none.
    pub(super) fn spot_of(&self, name: &str) -> Spot {
        self.member(name).map_or(self.node.spot, |(spot, _)| spot)
    }

    fn member(&self, name: &str) -> Option<(Spot, &'a Node)> {
        let Value::Map(members) = &self.node.value else { return None };
        members.iter().find(|it| it.name == name).map(|it| (it.spot, &it.node))
    }

    /// A member; nothing where it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.member(name).map(|(_, node)| node).filter(|it| !it.is_null())
    }

    /// A member that must be there.
    pub(super) fn need(&self, name: &str) -> Option<&'a Node> {
        let node = self.get(name);
        if node.is_none() {
            let message = format!("{} needs `{name}`", self.what);
            self.context.error(self.spot_of(name), Code::MissingMember, message);
        }
        node
    }

    /// A member as a value.
    pub(super) fn read<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&'a Context<'a>, &'a Node) -> Option<T>,
    ) -> Option<T> {
        parse(self.context, self.get(name)?)
    }

    /// A member that must be there, as a value.
    pub(super) fn read_needed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&'a Context<'a>, &'a Node) -> Option<T>,
    ) -> Option<T> {
        parse(self.context, self.need(name)?)
    }

    /// A member as a mapping.
    pub(super) fn section(&self, name: &str, what: &'static str, known: &[&str]) -> Option<Self> {
        Self::of(self.context, self.get(name)?, what, known)
    }

    /// The items of a member that is a list; none where it is absent.
    pub(super) fn list(&self, name: &str, max: usize) -> &'a [Node] {
        let Some(node) = self.get(name) else { return &[] };
        let Value::List(items) = &node.value else {
            let message = format!("`{name}` is a list, this is {}", node.describe());
            self.context.error(node.spot, Code::WrongType, message);
            return &[];
        };
        if items.len() > max {
            let message = format!("{} of `{name}`, {max} may be", items.len());
            self.context.error(self.spot_of(name), Code::TooMany, message);
        }
        &items[..items.len().min(max)]
    }

    /// The values of a list that is left out where it would be empty: one that is there and has none would
    /// mean every one to one reader, and none to another.
    pub(super) fn some_of<T>(
        &self,
        name: &str,
        max: usize,
        parse: impl Fn(&'a Context<'a>, &'a Node) -> Option<T>,
    ) -> Vec<T> {
        if let Some(node) = self.get(name)
            && matches!(&node.value, Value::List(items) if items.is_empty())
        {
            let message =
                format!("`{name}` names none: name one, or leave the rule or the member out");
            self.context.error(node.spot, Code::OutOfRange, message);
        }
        self.list(name, max).iter().filter_map(|it| parse(self.context, it)).collect()
    }

    /// The items of a member that is a list, or the one thing that stands in its place.
    pub(super) fn one_or_more(&self, name: &str, max: usize) -> &'a [Node] {
        match self.get(name) {
            Some(node) if !matches!(node.value, Value::List(_)) => std::slice::from_ref(node),
            _ => self.list(name, max),
        }
    }

    /// An error where a member stands that exists elsewhere and not here.
    pub(super) fn refuse(&self, name: &str) {
        if let Some((spot, _)) = self.member(name) {
            let message = format!("`{name}` is not supported");
            self.context.error(spot, Code::NotSupported, message);
        }
    }
}
