"""What students import by its short name (`from cs231n_gen import data`, or
`from cs231n_gen.training import Run` in a file they handed in), and where it is in the package."""

GIVEN = (
    "blocks",
    "captions",
    "clips",
    "data",
    "frozen",
    "judge",
    "metrics",
    "mlp",
    "processes",
    "toys",
    "training",
    "unet",
)
SHORT = {name: f"given.{name}" for name in GIVEN}
TRIALS = (
    "attention_maps",
    "autoencoder_trial",
    "caption_trial",
    "clip_trial",
    "code_maps",
    "codes_trial",
    "conditioning_trial",
    "consistency_bias",
    "decoder_trial",
    "distillation_trial",
    "dit_sizes",
    "dit_trial",
    "few_steps_trial",
    "forgotten_scale",
    "four_roads",
    "garment_trial",
    "latent_trial",
    "linear_vae_trial",
    "masked_trial",
    "picture_trial",
    "prior_trial",
    "sampler_trial",
    "schedule_trial",
    "straightening",
    "target_trial",
)
SHORT |= {name: f"experiments.{name}" for name in TRIALS}
SHORT |= {"doctor": "cli.doctor"}
