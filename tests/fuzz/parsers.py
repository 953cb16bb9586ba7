"""Every public parser, by name."""

from tests.fuzz import asked, files, folders, records
from tests.fuzz.running import Parser

PARSERS = {
    parser.name: parser
    for parser in (
        Parser("images", asked.make_image, asked.read_image),
        Parser("prompts", asked.make_asked, asked.read_asked),
        Parser("drafter-options", asked.make_spec, asked.read_spec),
        Parser("settings", asked.make_settings, asked.read_settings),
        Parser("own-rows", files.make_rows, files.read_rows),
        Parser("recipes", files.make_recipe, files.read_recipes),
        Parser("drafter-folders", folders.make_folder, folders.read_folder),
        Parser("model-folders", folders.make_model, folders.read_model),
        Parser("generations", records.make_generation, records.read_generation),
        Parser("records", records.make_record, records.read_whole_record),
    )
}
