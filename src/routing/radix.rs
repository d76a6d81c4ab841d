//! A byte-compressed radix tree (D. R. Morrison's PATRICIA, with bytes for bits and adaptive fan-out
//! as in Leis et al., "The Adaptive Radix Tree", 2013) in an arena.
//!
//! One key is one path from the root; a node carries the octets that lead to it from its parent, and
//! a value. Both sides of topic matching are built on it: a key of length *n* meets its prefixes in
//! one walk of at most *n* steps, whatever else the tree holds.
//!
//! Invariants:
//! - the root (id 0) always exists and has an empty label; every other label has an octet or more;
//! - between calls that fill or empty a value (`insert`, `prune`), every node but the root has a
//!   value or at least two children, so that there are fewer than two nodes per key;
//! - an id means the same key for as long as the node has a value: splits and merges happen in the
//!   nodes without.
//!
//! Nothing recurses: keys come from peers, and depth is theirs to choose (L-09). Dropping the tree
//! drops an array.

use slab::Slab;

/// Whether a node's value still says something, so that the node must stay.
pub(super) trait Value: Default {
    fn is_vacant(&self) -> bool;
}

/// The name of a node.
pub(super) type NodeId = u32;

pub(super) const ROOT: NodeId = 0;

/// The most nodes of a tree, so that two more (the most one insertion makes) still have an id of 31 bits.
const MAX_NODES: usize = u32::MAX as usize / 2 - 2;

#[derive(Debug)]
pub(super) struct RadixTree<V> {
    nodes: Slab<Node<V>>,
}

#[derive(Debug)]
struct Node<V> {
    label: Label,
    parent: NodeId,
    children: Children,
    value: V,
}

impl<V: Value> RadixTree<V> {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node {
            label: Label::EMPTY,
            parent: ROOT,
            children: Children::Empty,
            value: V::default(),
        });
        RadixTree { nodes }
    }

    /// Whether there is no room for another key.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_NODES
    }

    #[inline]
    pub(super) fn value(&self, node: NodeId) -> &V {
        &self.nodes[node as usize].value
    }

    #[inline]
    pub(super) fn value_mut(&mut self, node: NodeId) -> &mut V {
        &mut self.nodes[node as usize].value
    }

    /// What is under the empty key.
    #[inline]
    pub(super) fn root(&self) -> &V {
        self.value(ROOT)
    }

    /// Whether a key begins as `frame` does, or may: with the same octet.
    #[inline]
    pub(super) fn leads_on(&self, frame: &[u8]) -> bool {
        let children = &self.nodes[ROOT as usize].children;
        frame
            .first()
            .is_some_and(|octet| children.find(*octet).is_some())
    }

    /// The node of exactly this key. Its value may be vacant.
    pub(super) fn find(&self, key: &[u8]) -> Option<NodeId> {
        let mut node = ROOT;
        let mut rest = key;
        while let Some(&first) = rest.first() {
            node = self.nodes[node as usize].children.find(first)?;
            rest = rest.strip_prefix(self.nodes[node as usize].label.as_slice())?;
        }
        Some(node)
    }

    /// The values on the way to `key`: of the root, of every prefix, of `key` itself. Vacant ones
    /// are passed over.
    #[inline]
    pub(super) fn prefixes_of<'a>(&'a self, key: &'a [u8]) -> Prefixes<'a, V> {
        Prefixes {
            tree: self,
            next: Some(&self.nodes[ROOT as usize]),
            rest: key,
        }
    }

    /// The node of this key, made if it is missing. The caller fills its value, or calls
    /// [`RadixTree::prune`].
    pub(super) fn insert(&mut self, key: &[u8]) -> NodeId {
        let mut node = ROOT;
        let mut rest = key;
        while let Some(&first) = rest.first() {
            let Some(child) = self.nodes[node as usize].children.find(first) else {
                return self.add_child(node, rest);
            };
            let label = self.nodes[child as usize].label.as_slice();
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            node = if common == label.len() {
                child
            } else {
                self.split(child, common)
            };
            rest = &rest[common..];
        }
        node
    }

    /// Removes the node if nothing needs it any more, and its parent if that was kept for its sake.
    pub(super) fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT && self.nodes[node as usize].value.is_vacant() {
            let children = &self.nodes[node as usize].children;
            if children.len() > 1 {
                return;
            }
            let only_child = children.only();
            let gone = self.nodes.remove(node as usize);
            let siblings = &mut self.nodes[gone.parent as usize].children;
            if let Some(child) = only_child {
                siblings.replace(gone.label.first(), child);
                let child = &mut self.nodes[child as usize];
                child.parent = gone.parent;
                child.label = Label::concat(&gone.label, &child.label);
                return;
            }
            siblings.remove(gone.label.first());
            node = gone.parent;
        }
    }

    /// Writes the node's key into `key`, whatever was in it.
    pub(super) fn key_of(&self, node: NodeId, key: &mut Vec<u8>) {
        key.clear();
        let mut node = node;
        while node != ROOT {
            let at = &self.nodes[node as usize];
            key.extend(at.label.as_slice().iter().rev());
            node = at.parent;
        }
        key.reverse();
    }

    /// As [`RadixTree::key_of`], but of a key longer than `most` only the beginning of that length.
    pub(super) fn head_of(&self, node: NodeId, most: usize, head: &mut Vec<u8>) {
        let above = |node: &NodeId| Some(self.nodes[*node as usize].parent);
        let labels = std::iter::successors(Some(node), above).take_while(|node| *node != ROOT);
        let label = |node: NodeId| self.nodes[node as usize].label.as_slice();
        let len: usize = labels.clone().map(|node| label(node).len()).sum();
        head.clear();
        let mut end = len;
        for label in labels.map(label) {
            let begin = end - label.len();
            let kept = most.saturating_sub(begin).min(label.len());
            head.extend(label[..kept].iter().rev());
            end = begin;
        }
        head.reverse();
    }

    /// Every node with a value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &V)> {
        self.nodes
            .iter()
            .filter(|(_, node)| !node.value.is_vacant())
            .map(|(id, node)| (id as NodeId, &node.value))
    }

    /// Nodes with a value whose keys begin so and have up to `longest` octets, of the first so many nodes there.
    pub(super) fn below(&self, head: &[u8], longest: usize, most: usize) -> Vec<NodeId> {
        let label = |node: NodeId| self.nodes[node as usize].label.as_slice();
        let mut node = ROOT;
        let mut len = 0;
        while len < head.len() {
            let rest = &head[len..];
            let Some(child) = self.nodes[node as usize].children.find(rest[0]) else {
                return Vec::new();
            };
            let common = label(child).len().min(rest.len());
            if label(child)[..common] != rest[..common] {
                return Vec::new();
            }
            node = child;
            len += label(child).len();
        }
        let mut nodes = vec![(node, len)];
        let mut seen = 0;
        while seen < nodes.len() && nodes.len() < most {
            let (node, len) = nodes[seen];
            let children = &self.nodes[node as usize].children;
            if len < longest {
                children.for_each(|child| nodes.push((child, len + label(child).len())));
            }
            seen += 1;
        }
        nodes.truncate(most);
        nodes.retain(|(node, len)| *len <= longest && !self.value(*node).is_vacant());
        nodes.into_iter().map(|(node, _)| node).collect()
    }

    /// Gives the unused end of the arena back, if that is most of it.
    pub(super) fn shrink(&mut self) {
        if self.nodes.len() < self.nodes.capacity() / 2 {
            self.nodes.shrink_to_fit();
        }
    }

    /// Nodes there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    fn add_child(&mut self, parent: NodeId, label: &[u8]) -> NodeId {
        let id = self.nodes.insert(Node {
            label: Label::new(label),
            parent,
            children: Children::Empty,
            value: V::default(),
        }) as NodeId;
        self.nodes[parent as usize].children.insert(label[0], id);
        id
    }

    /// Puts a node in front of `node` that takes the first `at` octets of its label.
    fn split(&mut self, node: NodeId, at: usize) -> NodeId {
        let lower = &mut self.nodes[node as usize];
        let (front, back) = lower.label.as_slice().split_at(at);
        let (front, back) = (Label::new(front), Label::new(back));
        let first = front.first();
        let upper = Node {
            label: front,
            parent: lower.parent,
            children: Children::One(back.first(), node),
            value: V::default(),
        };
        lower.label = back;
        let parent = upper.parent;
        let id = self.nodes.insert(upper) as NodeId;
        self.nodes[node as usize].parent = id;
        self.nodes[parent as usize].children.replace(first, id);
        id
    }
}

pub(super) struct Prefixes<'a, V> {
    tree: &'a RadixTree<V>,
    next: Option<&'a Node<V>>,
    rest: &'a [u8],
}

impl<'a, V: Value> Prefixes<'a, V> {
    /// The next, and how many octets of the key it lacks.
    #[inline]
    pub(super) fn next_and_rest(&mut self) -> Option<(&'a V, usize)> {
        loop {
            let node = self.next.take()?;
            let lacks = self.rest.len();
            #[cfg(test)]
            work::add(1);
            if let Some(child) = self.rest.first().and_then(|b| node.children.find(*b)) {
                let child = &self.tree.nodes[child as usize];
                #[cfg(test)]
                work::add(child.label.as_slice().len());
                if let Some(rest) = self.rest.strip_prefix(child.label.as_slice()) {
                    self.rest = rest;
                    self.next = Some(child);
                }
            }
            if !node.value.is_vacant() {
                return Some((&node.value, lacks));
            }
        }
    }
}

impl<'a, V: Value> Iterator for Prefixes<'a, V> {
    type Item = &'a V;

    #[inline]
    fn next(&mut self) -> Option<&'a V> {
        self.next_and_rest().map(|(value, _)| value)
    }
}

/// The octets between a node and its parent: in the node itself if they are few.
#[derive(Debug)]
enum Label {
    Inline {
        len: u8,
        octets: [u8; Label::INLINE],
    },
    Heap(Box<[u8]>),
}

impl Label {
    /// What makes the label no larger than a `Box<[u8]>` with a tag: 24 octets.
    const INLINE: usize = 22;

    const EMPTY: Label = Label::Inline {
        len: 0,
        octets: [0; Label::INLINE],
    };

    fn new(label: &[u8]) -> Self {
        Label::concat_slices(label, &[])
    }

    fn concat(a: &Label, b: &Label) -> Self {
        Label::concat_slices(a.as_slice(), b.as_slice())
    }

    fn concat_slices(a: &[u8], b: &[u8]) -> Self {
        let len = a.len() + b.len();
        if len <= Label::INLINE {
            let mut octets = [0; Label::INLINE];
            octets[..a.len()].copy_from_slice(a);
            octets[a.len()..len].copy_from_slice(b);
            return Label::Inline {
                len: len as u8,
                octets,
            };
        }
        let mut octets = Vec::with_capacity(len);
        octets.extend_from_slice(a);
        octets.extend_from_slice(b);
        Label::Heap(octets.into_boxed_slice())
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Label::Inline { len, octets } => &octets[..usize::from(*len).min(Label::INLINE)],
            Label::Heap(octets) => octets,
        }
    }

    /// The octet the parent knows this node by. Only the root has none, and no parent either.
    fn first(&self) -> u8 {
        self.as_slice().first().copied().unwrap_or_default()
    }
}

/// A node's children by their first octet, in the smallest form that holds them. Forms change back
/// at less than they changed at, so that one child coming and going does not change them each time.
#[derive(Debug)]
enum Children {
    Empty,
    One(u8, NodeId),
    UpTo4(Box<Fan<4>>),
    UpTo16(Box<Fan<16>>),
    Table(Box<Table>),
}

impl Children {
    #[inline]
    fn find(&self, octet: u8) -> Option<NodeId> {
        match self {
            Children::Empty => None,
            Children::One(known, id) => (*known == octet).then_some(*id),
            Children::UpTo4(fan) => fan.find(octet),
            Children::UpTo16(fan) => fan.find(octet),
            Children::Table(table) => table.find(octet),
        }
    }

    fn len(&self) -> usize {
        match self {
            Children::Empty => 0,
            Children::One(..) => 1,
            Children::UpTo4(fan) => usize::from(fan.len),
            Children::UpTo16(fan) => usize::from(fan.len),
            Children::Table(table) => usize::from(table.len),
        }
    }

    fn for_each(&self, mut each: impl FnMut(NodeId)) {
        match self {
            Children::Empty => {}
            Children::One(_, id) => each(*id),
            Children::UpTo4(fan) => fan.iter().for_each(|(_, id)| each(id)),
            Children::UpTo16(fan) => fan.iter().for_each(|(_, id)| each(id)),
            Children::Table(table) => table.iter().for_each(|(_, id)| each(id)),
        }
    }

    /// The child, if there is just one.
    fn only(&self) -> Option<NodeId> {
        match self {
            Children::One(_, id) => Some(*id),
            _ => None,
        }
    }

    /// Adds a child under an octet that has none.
    fn insert(&mut self, octet: u8, id: NodeId) {
        match self {
            Children::Empty => *self = Children::One(octet, id),
            Children::One(other, other_id) => {
                let mut fan = Box::new(Fan::EMPTY);
                fan.push(*other, *other_id);
                fan.push(octet, id);
                *self = Children::UpTo4(fan);
            }
            Children::UpTo4(fan) if fan.is_full() => {
                let mut wider = Box::new(Fan::EMPTY);
                fan.iter().for_each(|(octet, id)| wider.push(octet, id));
                wider.push(octet, id);
                *self = Children::UpTo16(wider);
            }
            Children::UpTo4(fan) => fan.push(octet, id),
            Children::UpTo16(fan) if fan.is_full() => {
                let mut table = Box::new(Table::EMPTY);
                fan.iter().for_each(|(octet, id)| table.set(octet, id));
                table.set(octet, id);
                *self = Children::Table(table);
            }
            Children::UpTo16(fan) => fan.push(octet, id),
            Children::Table(table) => table.set(octet, id),
        }
    }

    /// Puts another child in the place of the one under `octet`.
    fn replace(&mut self, octet: u8, id: NodeId) {
        match self {
            Children::Empty => {}
            Children::One(_, known) => *known = id,
            Children::UpTo4(fan) => fan.replace(octet, id),
            Children::UpTo16(fan) => fan.replace(octet, id),
            Children::Table(table) => table.ids[usize::from(octet)] = id,
        }
    }

    fn remove(&mut self, octet: u8) {
        match self {
            Children::Empty => {}
            Children::One(..) => *self = Children::Empty,
            Children::UpTo4(fan) => {
                fan.remove(octet);
                if fan.len == 1 {
                    *self = Children::One(fan.octets[0], fan.ids[0]);
                }
            }
            Children::UpTo16(fan) => {
                fan.remove(octet);
                if fan.len == 3 {
                    let mut narrower = Box::new(Fan::EMPTY);
                    fan.iter().for_each(|(octet, id)| narrower.push(octet, id));
                    *self = Children::UpTo4(narrower);
                }
            }
            Children::Table(table) => {
                table.clear(octet);
                if table.len == 12 {
                    let mut narrower = Box::new(Fan::EMPTY);
                    table
                        .iter()
                        .for_each(|(octet, id)| narrower.push(octet, id));
                    *self = Children::UpTo16(narrower);
                }
            }
        }
    }
}

/// Up to `N` children, in no order: the first `len` places of both arrays.
#[derive(Debug)]
struct Fan<const N: usize> {
    len: u8,
    octets: [u8; N],
    ids: [NodeId; N],
}

impl<const N: usize> Fan<N> {
    const EMPTY: Self = Fan {
        len: 0,
        octets: [0; N],
        ids: [0; N],
    };

    fn is_full(&self) -> bool {
        usize::from(self.len) == N
    }

    #[inline]
    fn position(&self, octet: u8) -> Option<usize> {
        #[cfg(test)]
        work::add(usize::from(self.len));
        self.octets[..usize::from(self.len)]
            .iter()
            .position(|known| *known == octet)
    }

    #[inline]
    fn find(&self, octet: u8) -> Option<NodeId> {
        self.position(octet).map(|at| self.ids[at])
    }

    fn push(&mut self, octet: u8, id: NodeId) {
        let at = usize::from(self.len);
        self.octets[at] = octet;
        self.ids[at] = id;
        self.len += 1;
    }

    fn replace(&mut self, octet: u8, id: NodeId) {
        if let Some(at) = self.position(octet) {
            self.ids[at] = id;
        }
    }

    fn remove(&mut self, octet: u8) {
        if let Some(at) = self.position(octet) {
            self.len -= 1;
            let last = usize::from(self.len);
            self.octets[at] = self.octets[last];
            self.ids[at] = self.ids[last];
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u8, NodeId)> + '_ {
        let len = usize::from(self.len);
        std::iter::zip(&self.octets[..len], &self.ids[..len]).map(|(octet, id)| (*octet, *id))
    }
}

/// A place for every octet; the root's id, which is nobody's child, where there is none.
#[derive(Debug)]
struct Table {
    len: u16,
    ids: [NodeId; 256],
}

impl Table {
    const EMPTY: Self = Table {
        len: 0,
        ids: [ROOT; 256],
    };

    #[inline]
    fn find(&self, octet: u8) -> Option<NodeId> {
        let id = self.ids[usize::from(octet)];
        (id != ROOT).then_some(id)
    }

    fn set(&mut self, octet: u8, id: NodeId) {
        self.ids[usize::from(octet)] = id;
        self.len += 1;
    }

    fn clear(&mut self, octet: u8) {
        self.ids[usize::from(octet)] = ROOT;
        self.len -= 1;
    }

    fn iter(&self) -> impl Iterator<Item = (u8, NodeId)> + '_ {
        (0..=u8::MAX).filter_map(|octet| self.find(octet).map(|id| (octet, id)))
    }
}

/// Counts what a walk does: nodes visited, octets of labels and children compared.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local!(static DONE: Cell<usize> = const { Cell::new(0) });

    pub(in crate::routing) fn add(steps: usize) {
        DONE.with(|done| done.set(done.get() + steps));
    }

    /// How much was done since the last call, on this thread.
    pub(in crate::routing) fn take() -> usize {
        DONE.with(Cell::take)
    }
}

#[cfg(test)]
impl<V: Value> RadixTree<V> {
    /// Fails if one of the invariants in the file's header does not hold.
    pub(super) fn check(&self) {
        let mut reached = 1;
        assert!(self.nodes[ROOT as usize].label.as_slice().is_empty());
        for (id, node) in &self.nodes {
            if id != ROOT as usize {
                assert!(!node.label.as_slice().is_empty());
                assert!(!node.value.is_vacant() || node.children.len() > 1);
                let parent = &self.nodes[node.parent as usize];
                assert_eq!(parent.children.find(node.label.first()), Some(id as u32));
            }
            let children = (0..=255).filter(|b| node.children.find(*b).is_some());
            assert_eq!(children.count(), node.children.len());
            assert_eq!(node.children.only().is_some(), node.children.len() == 1);
            reached += node.children.len();
        }
        assert_eq!(reached, self.nodes.len());
    }

    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) const NODE_SIZE: usize = std::mem::size_of::<Node<V>>();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Value for Option<u32> {
        fn is_vacant(&self) -> bool {
            self.is_none()
        }
    }

    #[test]
    fn every_fan_out_grows_and_shrinks() {
        let mut tree = RadixTree::new();
        for octet in 0..=255u8 {
            let node = tree.insert(&[9, octet]);
            *tree.value_mut(node) = Some(u32::from(octet));
            tree.check();
        }
        for octet in (0..=255u8).rev() {
            let node = tree.find(&[9, octet]).unwrap();
            assert_eq!(tree.value_mut(node).take(), Some(u32::from(octet)));
            tree.prune(node);
            tree.check();
        }
        assert_eq!(tree.node_count(), 1);
    }

    #[test]
    fn long_labels_split_and_merge() {
        let mut tree = RadixTree::new();
        let long: Vec<u8> = (0..200).collect();
        for len in [200, 100, 50, 23, 22, 21, 150] {
            let node = tree.insert(&long[..len]);
            *tree.value_mut(node) = Some(len as u32);
            tree.check();
        }
        let met: Vec<_> = tree.prefixes_of(&long).map(|v| v.unwrap()).collect();
        assert_eq!(met, [21, 22, 23, 50, 100, 150, 200]);
        for len in [21, 150, 22, 50, 23, 100] {
            let node = tree.find(&long[..len]).unwrap();
            *tree.value_mut(node) = None;
            tree.prune(node);
            tree.check();
        }
        assert_eq!(tree.node_count(), 2);
        let mut key = vec![1, 2, 3];
        tree.key_of(tree.find(&long).unwrap(), &mut key);
        assert_eq!(key, long);
    }

    #[test]
    fn keys_below_a_head_are_those_that_are_little_longer() {
        let mut tree = RadixTree::new();
        let keys = [
            &b"he"[..],
            b"head",
            b"head/1",
            b"head/1/2",
            b"head/2",
            b"heal",
            b"head/3/4/5",
        ];
        for (n, key) in keys.iter().enumerate() {
            let node = tree.insert(key);
            *tree.value_mut(node) = Some(n as u32);
        }
        let below = |head: &[u8], longest, most| {
            let nodes = tree.below(head, longest, most).into_iter();
            let mut found: Vec<_> = nodes.map(|node| tree.value(node).unwrap()).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(below(b"head", 8, 100), [1, 2, 3, 4]);
        assert_eq!(below(b"head", 7, 100), [1, 2, 4]);
        assert_eq!(below(b"head", 10, 100), [1, 2, 3, 4, 6]);
        assert_eq!(below(b"", 2, 100), [0]);
        assert_eq!(below(b"", 100, 100), [0, 1, 2, 3, 4, 5, 6]);
        // The node of a label that goes on beyond the head.
        assert_eq!(below(b"h", 2, 100), [0]);
        assert_eq!(below(b"h", 1, 100), []);
        assert_eq!(below(b"head/3/", 10, 100), [6]);
        for head in [&b"x"[..], b"hex", b"head/3/5", b"head/1/2/3"] {
            assert_eq!(below(head, 100, 100), []);
        }
        assert_eq!(below(b"head", 10, 1), [1]);
    }

    /// Many octets further down there may be as many nodes, each of which would take as long to come back from.
    #[test]
    fn what_is_far_below_a_head_is_not_gone_to() {
        let mut tree = RadixTree::new();
        let key = vec![b'a'; 300];
        for len in 1..key.len() {
            let node = tree.insert(&key[..len]);
            *tree.value_mut(node) = Some(len as u32);
        }
        let below = tree.below(&key[..16], 31, 256);
        let lens: Vec<_> = below
            .into_iter()
            .map(|node| tree.value(node).unwrap())
            .collect();
        assert_eq!(lens, (16..32).collect::<Vec<u32>>());
    }

    #[test]
    fn a_chain_as_deep_as_it_is_long() {
        const DEPTH: usize = 20_000;
        let mut tree = RadixTree::new();
        let key = vec![b'a'; DEPTH];
        // Longest first, so that each insertion splits a label of one octet more than it takes.
        let mut node = tree.insert(&key);
        *tree.value_mut(node) = Some(0);
        for len in (1..DEPTH).rev().filter(|len| len % 100 == 0) {
            node = tree.insert(&key[..len]);
            *tree.value_mut(node) = Some(len as u32);
        }
        assert_eq!(tree.prefixes_of(&key).count(), DEPTH / 100);
        let last = tree.find(&key).unwrap();
        let mut back = Vec::new();
        tree.key_of(last, &mut back);
        assert_eq!(back, key);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(
            ops in prop::collection::vec((any::<bool>(), prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 255]), 0..6)), 0..200),
            probe in prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 255]), 0..8),
        ) {
            let mut tree = RadixTree::new();
            let mut model = BTreeMap::new();
            for (step, (add, key)) in ops.into_iter().enumerate() {
                if add {
                    let node = tree.insert(&key);
                    *tree.value_mut(node) = Some(step as u32);
                    model.insert(key, step as u32);
                } else {
                    let found = tree.find(&key).filter(|n| tree.value(*n).is_some());
                    prop_assert_eq!(found.is_some(), model.remove(&key).is_some());
                    if let Some(node) = found {
                        *tree.value_mut(node) = None;
                        tree.prune(node);
                    }
                }
                tree.check();
                prop_assert!(tree.node_count() <= 1 + 2 * model.len());
            }
            let mut key = Vec::new();
            let all: BTreeMap<Vec<u8>, u32> = tree.iter().map(|(node, value)| {
                tree.key_of(node, &mut key);
                for most in 0..=key.len() + 1 {
                    let mut head = vec![7];
                    tree.head_of(node, most, &mut head);
                    assert_eq!(head, key[..most.min(key.len())]);
                }
                (key.clone(), value.unwrap())
            }).collect();
            prop_assert_eq!(&all, &model);
            // A prefix sorts before what it is a prefix of.
            let met: Vec<u32> = tree.prefixes_of(&probe).map(|v| v.unwrap()).collect();
            let expected: Vec<u32> = model.iter().filter(|(k, _)| probe.starts_with(k)).map(|(_, v)| *v).collect();
            prop_assert_eq!(met, expected);
        }
    }
}
