//! The decoders on what they accept, on what the fuzzer found worth keeping, and on every small change of either.

use std::path::Path;

use simulations::decoders::{DECODERS, examples, play};
use simulations::entropy::Entropy;

/// Changed copies of each input that are played.
const CHANGES: u64 = 300;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

#[test]
fn every_decoder_accepts_its_examples() {
    for (name, _) in DECODERS {
        let examples = examples(name);
        assert!(!examples.is_empty(), "{name} has no examples");
        for (index, example) in examples.iter().enumerate() {
            assert!(play(name, example), "example {index} of {name} is refused");
        }
    }
}

/// What panics here is a way for a peer, a client or a disk to stop a node.
#[test]
fn no_decoder_panics_on_the_corpus() {
    for (name, _) in DECODERS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for input in corpus {
            play(name, &input);
        }
    }
}

#[test]
fn no_decoder_panics_on_changed_and_cut_examples() {
    let mut entropy = Entropy::new(7);
    for (name, _) in DECODERS {
        for example in examples(name) {
            for _ in 0..CHANGES {
                let mut input = example.clone();
                input.truncate(entropy.index(input.len() + 1));
                if !input.is_empty() {
                    for _ in 0..=entropy.below(3) {
                        let at = entropy.index(input.len());
                        input[at] ^= 1 << entropy.below(8);
                    }
                }
                play(name, &input);
            }
        }
    }
}
