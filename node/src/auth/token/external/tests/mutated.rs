use super::*;
use proptest::prelude::*;

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n";

/// A change of a token.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), index()).prop_map(|(at, letter)| Mutation::Replace(at, letter)),
        (index(), index()).prop_map(|(at, letter)| Mutation::Insert(at, letter)),
        index().prop_map(Mutation::Remove),
        (index(), index()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        index().prop_map(Mutation::Cut),
        (index(), index()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

fn mutate(token: &mut Vec<u8>, mutation: &Mutation) {
    let length = token.len();
    if length == 0 {
        return;
    }
    match mutation {
        Mutation::Replace(at, letter) => token[at.index(length)] = *letter.get(LETTERS),
        Mutation::Insert(at, letter) => token.insert(at.index(length), *letter.get(LETTERS)),
        Mutation::Remove(at) => drop(token.remove(at.index(length))),
        Mutation::Swap(one, other) => token.swap(one.index(length), other.index(length)),
        Mutation::Cut(at) => token.truncate(at.index(length)),
        Mutation::Repeat(from, to) => {
            let piece = token[from.index(length)..].to_vec();
            let at = to.index(length);
            token.splice(at..at, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_token_verifies(kind in 0..3usize, mutations in prop::collection::vec(mutation(), 1..4)) {
        thread_local! {
            static TOKENS: (External, Vec<String>) = tokens();
        }
        TOKENS.with(|(external, tokens)| {
            let token = &tokens[kind];
            let mut bytes = token.clone().into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
            let mutated = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(external.verify_now(&mutated).is_ok(), mutated == *token, "{}", mutated);
            Ok(())
        })?;
    }
}

fn tokens() -> (External, Vec<String>) {
    let signers = [(Signer::rsa(), "RS256"), (Signer::p256(), "ES256"), (Signer::ed25519(), "EdDSA")];
    let external = trusting(None, Some(signers.iter().map(|(signer, _)| signer.jwk.clone()).collect()));
    let sign =
        |(signer, alg): &(Signer, &str)| signer.sign(&json!({"alg": alg, "kid": signer.thumbprint()}), &payload());
    let tokens = signers.iter().map(sign).collect();
    (external, tokens)
}
