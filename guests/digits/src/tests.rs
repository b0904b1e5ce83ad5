use super::*;

/// Twelve records whose image is a bar that says its label.
fn training_set() -> Vec<u8> {
    (0..12u8)
        .flat_map(|index| {
            let label = index % 10;
            let mut record = [0; RECORD_BYTES];
            record[usize::from(label) * 6..][..6].fill(16);
            record[IMAGE_BYTES] = label;
            record
        })
        .collect()
}

fn step(step: u64, state: &[u8]) -> Vec<u8> {
    StepInput { step, state }.encode()
}

fn trained(steps: u64) -> Vec<u8> {
    let set = training_set();
    (0..steps).fold(Vec::new(), |state, index| train(&step(index, &state), &set).unwrap())
}

#[test]
fn training_learns_what_the_images_say() {
    let images: Vec<u8> = training_set()
        .chunks_exact(RECORD_BYTES)
        .flat_map(|record| record[..IMAGE_BYTES].to_vec())
        .collect();
    let labels = classify(&images, &trained(20)).unwrap();
    assert_eq!(labels, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n");
}

#[test]
fn a_step_is_a_function_of_its_input() {
    let state = trained(3);
    assert_eq!(state, trained(3));
    assert_eq!(state.len(), STATE_BYTES);
    assert_eq!(Model::decode(&state).unwrap().steps(), 3);
    assert_eq!(Model::decode(&state).unwrap().encode(), state);
}

#[test]
fn many_images_get_the_labels_that_each_gets_alone() {
    let (model, set) = (trained(2), training_set());
    let image = |index: usize| &set[index % 12 * RECORD_BYTES..][..IMAGE_BYTES];
    let all: Vec<u8> = (0..BATCH + 3).flat_map(|index| image(index).to_vec()).collect();
    let apart: Vec<u8> =
        (0..BATCH + 3).flat_map(|index| classify(image(index), &model).unwrap()).collect();
    assert_eq!(classify(&all, &model).unwrap(), apart);
    assert_eq!(classify(&[], &model).unwrap(), b"");
}

#[test]
fn malformed_input_is_refused() {
    let (set, state) = (training_set(), trained(1));
    let mut foreign = state.clone();
    foreign[0] = b'D';
    let mut mislabelled = set.clone();
    mislabelled[IMAGE_BYTES] = 10;
    for (input, set, error) in [
        (vec![0; 7], &set, DigitsError::NoStep(7)),
        (step(1, b""), &set, DigitsError::OutOfOrder { step: 1, taken: 0 }),
        (step(0, &state), &set, DigitsError::OutOfOrder { step: 0, taken: 1 }),
        (step(1, &state[1..]), &set, DigitsError::BadState(STATE_BYTES - 1)),
        (step(1, &foreign), &set, DigitsError::BadState(STATE_BYTES)),
        (step(0, b""), &vec![], DigitsError::BadTrainingSet(0)),
        (step(0, b""), &vec![0; 66], DigitsError::BadTrainingSet(66)),
        (step(0, b""), &mislabelled, DigitsError::BadLabel { record: 0, label: 10 }),
    ] {
        assert_eq!(train(&input, set), Err(error));
    }
    assert_eq!(classify(&[0; 63], &state), Err(DigitsError::BadImages(63)));
    assert_eq!(classify(&[0; 64], b"digits/1"), Err(DigitsError::BadState(8)));
}
