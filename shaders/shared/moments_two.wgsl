// The moments of Adam, AdamW and Sophia.
// builds on: first_moment, second_moment
