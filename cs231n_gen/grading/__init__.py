"""The instructor's side: reading the source, releasing the course, grading. Never released.

What a student hands in goes through grading under these names:

- `File`: a file found on disk, in a zip or in an LMS's download. Nothing of it is trusted.
- `Candidate`: the files that one student handed in together, a notebook among them.
- `Attempt`: one student's attempt at one chapter, of which there may be several. Its files are the
  `Selection` that was made from a candidate and checked.
- `Submission`: the newest attempt, in `submitted/<student>/<chapter>/`. Its `SubmittedCode` is what
  is run of it.
- `Job`: the work of grading a submission, plain enough for another machine. It has a *task* for
  each exercise: what a child in the jail needs to answer for that exercise.
- `Result` of a property, `ExerciseResult` of an exercise, `ExerciseGrade` with its points, and
  `Grading`: the record of the whole submission, `grading.json`.

So the object itself changes its name twice, from candidate to attempt to submission; a job and a
grading are other objects, made from it. An `Assignment` is a chapter as it is graded. Student code
runs in a *child*, forked by the *fork server* inside a *sandbox*; all of that together is the jail.
"""

from cs231n_gen.common.startup import defer_iri_parser

defer_iri_parser()  # before any part of grading imports nbformat
