//! Finding the difference of two sets by questions about ranges: the side that asks and the side that answers.
//!
//! The asker sends prints of its ranges, salted so that no author can aim at a collision, or, where
//! it holds few ids, short forms of them all. The answerer keeps no state. Frames do not wait for each
//! other: the depth of the tree, not the number of frames, is the number of round trips. Prints may
//! collide by chance, so the end compares full roots, and another salt is tried once.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::fault::Misbehaved;

use crate::limits::{FRAME_BYTES_MAX, RANGES_PER_FRAME_MAX, RANGES_PER_RUN_MAX};
use crate::range::{Key, NIBBLES_MAX, Range};
use crate::summary::{Digest, LEAF_IDS_MAX, Summary};

/// Bytes of answers after which the answerer leaves the rest of a frame's questions to be asked
/// again: half a frame, so that one answer more always fits.
const ANSWER_BYTES_TARGET: usize = FRAME_BYTES_MAX / 2;

/// A run's random number, chosen by the asker after the other's ids were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salt(pub [u8; 8]);

/// The first eight bytes of a range's salted digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print(pub [u8; 8]);

/// The first six bytes of a salted id: enough to tell 32 ids from 32 others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Short(pub [u8; 6]);

/// What the asker has in one range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// More than a leaf of ids, with this print.
    Print(Range, Print),
    /// These ids and no others, at most a leaf of them.
    List(Range, Vec<Short>),
}

/// One frame of questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    pub salt: Salt,
    pub questions: Vec<Question>,
}

/// What the answerer has in the range of one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The same print.
    Same,
    /// More than a leaf: bit n is set if child n has ids, and each that has gives its print.
    Split { children: u16, prints: Vec<Print> },
    /// To a print: at most a leaf of ids, these.
    Ids(Vec<Key>),
    /// To a list: ids that are not on it, and bit n set if the answerer lacks entry n.
    Difference { ids: Vec<Key>, lacking: u32 },
}

/// Answers to the first questions of a frame; those left out are to be asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The root of the answerer's whole set.
    pub root: Digest,
    pub answers: Vec<Answer>,
}

/// Why a frame of questions gets no answer. The asker's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionFault {
    #[error("the peer asked about {found} ranges in one frame, over the limit of {RANGES_PER_FRAME_MAX}")]
    TooManyRanges { found: usize },
    #[error("the peer listed {found} ids for range {range}, over the limit of {LEAF_IDS_MAX}")]
    TooManyIds { range: Range, found: usize },
}

/// Why a run found no difference. All but [`Self::NeverAgreed`] and [`Self::TooManyRanges`] can only
/// be the answerer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("the peer sent answers nobody asked for")]
    Unasked,
    #[error("the peer answered none of the questions of a frame")]
    Nothing,
    #[error("the peer sent {found} answers to {asked} questions")]
    TooManyAnswers { asked: usize, found: usize },
    #[error("the peer's answer about range {range} is of the wrong kind")]
    WrongKind { range: Range },
    #[error("the peer gave {found} prints for {expected} parts of range {range}")]
    WrongPrints { range: Range, expected: u32, found: usize },
    #[error("the peer listed {found} ids for range {range}, over the limit of {LEAF_IDS_MAX}")]
    TooManyIds { range: Range, found: usize },
    #[error("the peer listed an id outside range {range}, twice or out of order")]
    OutsideRange { range: Range },
    #[error("the peer listed an id of range {range} that it was told of")]
    AlreadyHeld { range: Range },
    #[error("the peer lacks an entry past the end of the list for range {range}")]
    NoSuchEntry { range: Range },
    /// The difference is too large for one run, or the peer makes it seem so.
    #[error("the difference takes more than {RANGES_PER_RUN_MAX} questions")]
    TooManyRanges,
    /// The roots differ after all differences were applied, twice: the peer misbehaves, or its set
    /// changed while it answered.
    #[error("the peer's answers do not add up to its root, with two salts")]
    NeverAgreed,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Ids the answerer has and the asker lacks.
    pub missing: BTreeSet<Key>,
    /// Ids the asker has and the answerer lacks.
    pub extra: BTreeSet<Key>,
    /// The answerer's root, which the asker's would be without `extra` and with `missing`.
    pub root: Digest,
}

impl From<QuestionFault> for Misbehaved {
    fn from(fault: QuestionFault) -> Self {
        match fault {
            QuestionFault::TooManyRanges { .. } | QuestionFault::TooManyIds { .. } => Self::RangesFlooded,
        }
    }
}

impl From<AnswerFault> for Misbehaved {
    fn from(fault: AnswerFault) -> Self {
        match fault {
            AnswerFault::TooManyRanges => Self::RangesFlooded,
            AnswerFault::NeverAgreed => Self::RootContradicted,
            AnswerFault::Unasked
            | AnswerFault::Nothing
            | AnswerFault::TooManyAnswers { .. }
            | AnswerFault::WrongKind { .. }
            | AnswerFault::WrongPrints { .. }
            | AnswerFault::TooManyIds { .. }
            | AnswerFault::OutsideRange { .. }
            | AnswerFault::AlreadyHeld { .. }
            | AnswerFault::NoSuchEntry { .. } => Self::RangesInvalid,
        }
    }
}

/// The hashing of one salt.
#[derive(Debug, Clone)]
struct Salted([u8; 32]);

impl Salted {
    fn new(salt: Salt) -> Self {
        Self(blake3::derive_key("packetboat v1 reconcile salt", &salt.0))
    }

    fn print(&self, digest: Digest) -> Print {
        Print(self.head(&digest.0))
    }

    fn short(&self, id: &Key) -> Short {
        Short(self.head(id))
    }

    fn head<const N: usize>(&self, bytes: &[u8; 32]) -> [u8; N] {
        blake3::keyed_hash(&self.0, bytes).as_bytes().first_chunk().copied().unwrap_or([0; N])
    }
}

/// Answers one frame of questions: all of them, or the first so many that fit a frame.
///
/// # Errors
/// [`QuestionFault`] when the frame asks for more work than one frame may.
pub fn answer(set: &mut Summary, asked: &Questions) -> Result<Answers, QuestionFault> {
    let found = asked.questions.len();
    if found > RANGES_PER_FRAME_MAX {
        return Err(QuestionFault::TooManyRanges { found });
    }
    let salted = Salted::new(asked.salt);
    let mut answers = Vec::new();
    let mut bytes = 0;
    for question in &asked.questions {
        if bytes > ANSWER_BYTES_TARGET {
            break;
        }
        let answer = match question {
            Question::Print(range, print) => answer_print(set, &salted, *range, *print),
            Question::List(range, list) => answer_list(set, &salted, *range, list)?,
        };
        bytes += answer.bytes_max();
        answers.push(answer);
    }
    Ok(Answers { root: set.root(), answers })
}

fn answer_print(set: &mut Summary, salted: &Salted, range: Range, print: Print) -> Answer {
    if salted.print(set.digest(range)) == print {
        Answer::Same
    } else if set.is_inner(range) {
        split(set, salted, range)
    } else {
        Answer::Ids(set.ids_in(range).take(LEAF_IDS_MAX).copied().collect())
    }
}

fn answer_list(
    set: &mut Summary,
    salted: &Salted,
    range: Range,
    list: &[Short],
) -> Result<Answer, QuestionFault> {
    if list.len() > LEAF_IDS_MAX {
        return Err(QuestionFault::TooManyIds { range, found: list.len() });
    }
    if set.is_inner(range) {
        return Ok(split(set, salted, range));
    }
    let mine: Vec<(Short, Key)> =
        set.ids_in(range).take(LEAF_IDS_MAX).map(|id| (salted.short(id), *id)).collect();
    let ids = mine.iter().filter(|(short, _id)| !list.contains(short)).map(|(_short, id)| *id).collect();
    let lacking = (0..)
        .zip(list)
        .filter(|(_at, entry)| !mine.iter().any(|(short, _id)| short == *entry))
        .fold(0, |bits, (at, _entry): (u32, _)| bits | 1_u32.checked_shl(at).unwrap_or(0));
    Ok(Answer::Difference { ids, lacking })
}

fn split(set: &mut Summary, salted: &Salted, range: Range) -> Answer {
    let mut children = 0;
    let mut prints = Vec::new();
    for (nibble, child) in (0_u32..).zip(range.children()) {
        let digest = set.digest(child);
        if digest != Digest::default() {
            children |= 1 << nibble;
            prints.push(salted.print(digest));
        }
    }
    Answer::Split { children, prints }
}

impl Answer {
    fn bytes_max(&self) -> usize {
        8 + match self {
            Self::Same => 0,
            Self::Split { prints, .. } => prints.len() * 8,
            Self::Ids(ids) | Self::Difference { ids, .. } => ids.len() * 32,
        }
    }
}

/// The side that wants to know. The set must not change while it asks.
#[derive(Debug)]
pub struct Asker {
    salt: Salt,
    salted: Salted,
    /// The salt of the second attempt, while there is one.
    spare: Option<Salt>,
    open: VecDeque<Range>,
    /// Frames sent and not answered, oldest first.
    flying: VecDeque<Vec<Range>>,
    asked: usize,
    found: Difference,
    done: bool,
}

impl Asker {
    /// An asker about the whole set. The salts must be random and unknown before.
    #[must_use]
    pub fn new(set: &Summary, salt: Salt, spare: Salt) -> Self {
        Self {
            salt,
            salted: Salted::new(salt),
            spare: Some(spare),
            open: first_ranges(set),
            flying: VecDeque::new(),
            asked: 0,
            found: Difference::default(),
            done: false,
        }
    }

    /// The next frame to send; `None` until an answer opens more ranges. Frames may be sent without
    /// waiting for answers, which must come in the same order.
    ///
    /// # Errors
    /// [`AnswerFault::TooManyRanges`].
    pub fn poll(&mut self, set: &mut Summary) -> Result<Option<Questions>, AnswerFault> {
        let ranges: Vec<Range> = self.open.drain(..self.open.len().min(RANGES_PER_FRAME_MAX)).collect();
        if ranges.is_empty() {
            return Ok(None);
        }
        self.asked += ranges.len();
        if self.asked > RANGES_PER_RUN_MAX {
            return Err(AnswerFault::TooManyRanges);
        }
        let questions = ranges.iter().map(|range| self.question(set, *range)).collect();
        self.flying.push_back(ranges);
        Ok(Some(Questions { salt: self.salt, questions }))
    }

    fn question(&self, set: &mut Summary, range: Range) -> Question {
        if set.is_inner(range) {
            Question::Print(range, self.salted.print(set.digest(range)))
        } else {
            Question::List(range, self.list(set, range))
        }
    }

    fn list(&self, set: &Summary, range: Range) -> Vec<Short> {
        set.ids_in(range).take(LEAF_IDS_MAX).map(|id| self.salted.short(id)).collect()
    }

    /// Takes the answers to the oldest frame that has none. Returns the difference once it is known
    /// and proven by the root; until then `None`, and [`Self::poll`] may have more to ask.
    ///
    /// # Errors
    /// [`AnswerFault`]; the asker is of no more use.
    pub fn handle(&mut self, set: &mut Summary, answers: Answers) -> Result<Option<Difference>, AnswerFault> {
        let ranges = self.flying.pop_front().filter(|_ranges| !self.done).ok_or(AnswerFault::Unasked)?;
        let (asked, found) = (ranges.len(), answers.answers.len());
        if found > asked {
            return Err(AnswerFault::TooManyAnswers { asked, found });
        }
        if found == 0 {
            return Err(AnswerFault::Nothing);
        }
        self.found.root = answers.root;
        self.open.extend(ranges.iter().skip(found));
        for (range, answer) in ranges.into_iter().zip(answers.answers) {
            self.take(set, range, answer)?;
        }
        if !self.open.is_empty() || !self.flying.is_empty() {
            return Ok(None);
        }
        self.conclude(set)
    }

    fn take(&mut self, set: &mut Summary, range: Range, answer: Answer) -> Result<(), AnswerFault> {
        let listed = !set.is_inner(range);
        match answer {
            Answer::Same if !listed => Ok(()),
            Answer::Split { children, prints } => self.take_split(set, range, children, &prints),
            Answer::Ids(ids) if !listed => {
                check_ids(range, &ids)?;
                let theirs: BTreeSet<Key> = ids.into_iter().collect();
                let extra = set.ids_in(range).filter(|id| !theirs.contains(*id)).copied();
                self.found.extra.extend(extra);
                self.found.missing.extend(theirs.into_iter().filter(|id| !set.contains(id)));
                Ok(())
            }
            Answer::Difference { ids, lacking } if listed => {
                check_ids(range, &ids)?;
                if ids.iter().any(|id| set.contains(id)) {
                    return Err(AnswerFault::AlreadyHeld { range });
                }
                let mine: Vec<Key> = set.ids_in(range).take(LEAF_IDS_MAX).copied().collect();
                let past_end = u64::from(lacking).checked_shr(u32::try_from(mine.len()).unwrap_or(64));
                if past_end.unwrap_or(0) != 0 {
                    return Err(AnswerFault::NoSuchEntry { range });
                }
                let extra =
                    (0_u32..).zip(mine).filter(|(at, _id)| lacking.checked_shr(*at).unwrap_or(0) & 1 == 1);
                self.found.extra.extend(extra.map(|(_at, id)| id));
                self.found.missing.extend(ids);
                Ok(())
            }
            Answer::Same | Answer::Ids(_) | Answer::Difference { .. } => {
                Err(AnswerFault::WrongKind { range })
            }
        }
    }

    fn take_split(
        &mut self,
        set: &mut Summary,
        range: Range,
        children: u16,
        prints: &[Print],
    ) -> Result<(), AnswerFault> {
        let expected = children.count_ones();
        if usize::try_from(expected) != Ok(prints.len()) {
            return Err(AnswerFault::WrongPrints { range, expected, found: prints.len() });
        }
        if range.nibbles() == NIBBLES_MAX {
            return Err(AnswerFault::WrongKind { range });
        }
        let mut prints = prints.iter();
        for (nibble, child) in (0_u32..).zip(range.children()) {
            if children >> nibble & 1 == 0 {
                self.found.extra.extend(set.ids_in(child));
            } else if prints.next() != Some(&self.salted.print(set.digest(child))) {
                self.open.push_back(child);
            }
        }
        Ok(())
    }

    fn conclude(&mut self, set: &mut Summary) -> Result<Option<Difference>, AnswerFault> {
        if applied_root(set, &self.found) == self.found.root {
            self.done = true;
            return Ok(Some(std::mem::take(&mut self.found)));
        }
        let salt = self.spare.take().ok_or(AnswerFault::NeverAgreed)?;
        self.salt = salt;
        self.salted = Salted::new(salt);
        self.found = Difference::default();
        self.open = first_ranges(set);
        Ok(None)
    }
}

/// One level down at once when the set is split: a round trip less for a few bytes more.
fn first_ranges(set: &Summary) -> VecDeque<Range> {
    if set.is_inner(Range::ALL) { Range::ALL.children().collect() } else { VecDeque::from([Range::ALL]) }
}

fn check_ids(range: Range, ids: &[Key]) -> Result<(), AnswerFault> {
    if ids.len() > LEAF_IDS_MAX {
        return Err(AnswerFault::TooManyIds { range, found: ids.len() });
    }
    if ids.is_sorted_by(|one, next| one < next) && ids.iter().all(|id| range.contains(id)) {
        Ok(())
    } else {
        Err(AnswerFault::OutsideRange { range })
    }
}

/// The root the set would have; the set is left as it was.
fn applied_root(set: &mut Summary, difference: &Difference) -> Digest {
    let removed: Vec<Key> = difference.extra.iter().filter(|id| set.remove(id)).copied().collect();
    let added: Vec<Key> = difference.missing.iter().filter(|id| set.insert(**id)).copied().collect();
    let root = set.root();
    for id in &added {
        set.remove(id);
    }
    set.extend(removed);
    root
}

#[cfg(test)]
mod tests;
