//! Pairs of sets reconciled, with their bytes and round trips, and answers that lie.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::summary::Tree;

fn id(number: u64) -> Key {
    Tree::Held.item(&number.to_le_bytes())
}

fn numbered(numbers: std::ops::Range<u64>) -> Summary {
    numbers.map(id).collect()
}

#[derive(Debug)]
struct Run {
    difference: Difference,
    round_trips: usize,
    bytes: usize,
}

fn run(mine: &mut Summary, theirs: &mut Summary) -> Run {
    let mut asker = Asker::new(mine, Salt([1; 8]), Salt([2; 8]));
    let (mut round_trips, mut bytes) = (0, 0);
    loop {
        round_trips += 1;
        let mut frames = Vec::new();
        while let Some(frame) = asker.poll(mine).unwrap() {
            frames.push(frame);
        }
        for frame in frames {
            let answers = answer(theirs, &frame).unwrap();
            let sizes =
                [postcard::to_stdvec(&frame).unwrap().len(), postcard::to_stdvec(&answers).unwrap().len()];
            assert!(sizes.iter().all(|size| *size <= FRAME_BYTES_MAX));
            bytes += sizes.iter().sum::<usize>();
            if let Some(difference) = asker.handle(mine, answers).unwrap() {
                return Run { difference, round_trips, bytes };
            }
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are for a person to compare with the study")]
fn bytes_and_round_trips_stay_near_the_study() {
    // Ids asked for come whole (32 B) where the study counted six bytes, for half of each difference.
    let bounds: BTreeMap<(u64, u64), usize> = [
        ((10_000, 0), 400),
        ((10_000, 1), 1_200),
        ((10_000, 10), 4_500),
        ((10_000, 100), 25_000),
        ((10_000, 1_000), 110_000),
        ((100_000, 0), 400),
        ((100_000, 1), 1_300),
        ((100_000, 10), 7_000),
        ((100_000, 100), 45_000),
        ((100_000, 1_000), 260_000),
    ]
    .into();
    for ((n, d), bytes_max) in bounds {
        let mut mine = numbered(d / 2..n);
        let mut theirs = numbered(0..n - d.div_ceil(2));
        let found = run(&mut mine, &mut theirs);
        eprintln!("n {n} d {d}: {} bytes, {} round trips", found.bytes, found.round_trips);
        assert_eq!(found.difference.missing, (0..d / 2).map(id).collect());
        assert_eq!(found.difference.extra, (n - d.div_ceil(2)..n).map(id).collect());
        assert!(found.round_trips <= 4, "n {n} d {d}: {} round trips", found.round_trips);
        assert!(found.bytes <= bytes_max, "n {n} d {d}: {} bytes", found.bytes);
    }
}

#[test]
fn a_site_with_nothing_learns_everything() {
    let mut theirs = numbered(0..20_000);
    let found = run(&mut Summary::new(), &mut theirs);
    assert_eq!(found.difference.missing.len(), 20_000);
    assert!(found.round_trips <= 5);
    let found = run(&mut theirs, &mut Summary::new());
    assert_eq!(found.difference.extra.len(), 20_000);
    assert_eq!(found.round_trips, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_difference_is_exact(common in 0_u64..2_000, mine in 0_u64..200, theirs in 0_u64..200) {
        let mut one: Summary = (0..common + mine).map(id).collect();
        let mut other: Summary = (0..common).chain(10_000..10_000 + theirs).map(id).collect();
        let before = one.root();
        let found = run(&mut one, &mut other).difference;
        prop_assert_eq!(found.missing, (10_000..10_000 + theirs).map(id).collect::<BTreeSet<Key>>());
        prop_assert_eq!(found.extra, (common..common + mine).map(id).collect::<BTreeSet<Key>>());
        prop_assert_eq!(found.root, other.root());
        prop_assert_eq!(one.root(), before);
    }

    #[test]
    fn no_answer_makes_the_asker_panic(
        count in 0_u64..200,
        answers in prop::collection::vec(arbitrary_answer(), 0..20),
    ) {
        let mut set = numbered(0..count);
        let mut asker = Asker::new(&set, Salt([1; 8]), Salt([2; 8]));
        for answer in answers {
            if !matches!(asker.poll(&mut set), Ok(Some(_))) {
                break;
            }
            if asker.handle(&mut set, Answers { root: Digest::default(), answers: vec![answer] }).is_err() {
                break;
            }
        }
        prop_assert_eq!(set.count() as u64, count);
    }
}

fn arbitrary_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Same),
        prop::collection::vec(any::<[u8; 8]>().prop_map(Print), 16)
            .prop_map(|prints| Answer::Split { children: u16::MAX, prints }),
        prop::collection::vec(any::<Key>(), 0..40).prop_map(Answer::Ids),
        (prop::collection::vec(any::<Key>(), 0..3), 0_u32..4)
            .prop_map(|(ids, lacking)| Answer::Difference { ids, lacking }),
    ]
}

/// What the first answer to an asker with `count` ids leads to.
fn reply(count: u64, answers: Vec<Answer>) -> Result<Option<Difference>, AnswerFault> {
    let mut set = numbered(0..count);
    let mut asker = Asker::new(&set, Salt([1; 8]), Salt([2; 8]));
    asker.poll(&mut set)?;
    asker.handle(&mut set, Answers { root: Digest([9; 32]), answers })
}

#[test]
fn answers_that_lie_are_named() {
    let all = Range::ALL;
    let first = all.child(0).unwrap();
    assert_eq!(reply(1, vec![]), Err(AnswerFault::Nothing));
    let two = vec![Answer::Same, Answer::Same];
    assert_eq!(reply(1, two), Err(AnswerFault::TooManyAnswers { asked: 1, found: 2 }));
    assert_eq!(reply(1, vec![Answer::Same]), Err(AnswerFault::WrongKind { range: all }));
    assert_eq!(reply(1, vec![Answer::Ids(vec![])]), Err(AnswerFault::WrongKind { range: all }));
    let foreign = Answer::Ids(vec![[0xff; 32]]);
    assert_eq!(reply(9_000, vec![foreign]), Err(AnswerFault::OutsideRange { range: first }));
    let twice = Answer::Ids(vec![[0; 32], [0; 32]]);
    assert_eq!(reply(9_000, vec![twice]), Err(AnswerFault::OutsideRange { range: first }));
    let many = Answer::Ids(vec![[0; 32]; 33]);
    assert_eq!(reply(9_000, vec![many]), Err(AnswerFault::TooManyIds { range: first, found: 33 }));
    let kind = Answer::Difference { ids: vec![], lacking: 0 };
    assert_eq!(reply(9_000, vec![kind]), Err(AnswerFault::WrongKind { range: first }));
    let told = Answer::Difference { ids: vec![id(0)], lacking: 0 };
    assert_eq!(reply(1, vec![told]), Err(AnswerFault::AlreadyHeld { range: all }));
    let past = Answer::Difference { ids: vec![], lacking: 2 };
    assert_eq!(reply(1, vec![past]), Err(AnswerFault::NoSuchEntry { range: all }));
    let prints = Answer::Split { children: 3, prints: vec![Print([0; 8])] };
    assert_eq!(reply(1, vec![prints]), Err(AnswerFault::WrongPrints { range: all, expected: 2, found: 1 }));
}

/// [P-52] A mismatch of the full root is tried once with another salt.
#[test]
fn a_root_that_never_agrees_is_given_up_after_a_second_salt() {
    let mut set = numbered(0..1);
    let mut asker = Asker::new(&set, Salt([1; 8]), Salt([2; 8]));
    let lie =
        Answers { root: Digest([9; 32]), answers: vec![Answer::Difference { ids: vec![], lacking: 0 }] };
    assert_eq!(asker.handle(&mut set, lie.clone()), Err(AnswerFault::Unasked));
    assert_eq!(asker.poll(&mut set).unwrap().unwrap().salt, Salt([1; 8]));
    assert_eq!(asker.handle(&mut set, lie.clone()), Ok(None));
    assert_eq!(asker.poll(&mut set).unwrap().unwrap().salt, Salt([2; 8]));
    assert_eq!(asker.handle(&mut set, lie), Err(AnswerFault::NeverAgreed));
}

#[test]
fn a_peer_that_always_splits_is_given_up() {
    let mut set = Summary::new();
    let mut asker = Asker::new(&set, Salt([1; 8]), Salt([2; 8]));
    let fault = loop {
        let frame = match asker.poll(&mut set) {
            Ok(frame) => frame.unwrap(),
            Err(fault) => break fault,
        };
        let answers = vec![
            Answer::Split { children: u16::MAX, prints: vec![Print([7; 8]); 16] };
            frame.questions.len()
        ];
        asker.handle(&mut set, Answers { root: Digest::default(), answers }).unwrap();
    };
    assert_eq!(fault, AnswerFault::TooManyRanges);
}

#[test]
fn questions_beyond_a_frame_or_a_leaf_are_refused() {
    let mut set = numbered(0..10);
    let list = Question::List(Range::ALL, vec![Short([0; 6]); 33]);
    let asked = Questions { salt: Salt([0; 8]), questions: vec![list] };
    let fault = QuestionFault::TooManyIds { range: Range::ALL, found: 33 };
    assert_eq!(answer(&mut set, &asked), Err(fault));
    let questions = vec![Question::List(Range::ALL, vec![]); RANGES_PER_FRAME_MAX + 1];
    let asked = Questions { salt: Salt([0; 8]), questions };
    assert_eq!(answer(&mut set, &asked), Err(QuestionFault::TooManyRanges { found: 1025 }));
}

#[test]
fn a_fault_of_the_ranges_ends_a_session_by_its_name() {
    let ended = |fault: AnswerFault| Misbehaved::from(fault);
    assert_eq!(ended(AnswerFault::Nothing), Misbehaved::RangesInvalid);
    assert_eq!(ended(AnswerFault::TooManyRanges), Misbehaved::RangesFlooded);
    assert_eq!(ended(AnswerFault::NeverAgreed), Misbehaved::RootContradicted);
}
