"""Every public parser, by name."""

from tests.fuzz import asked, files
from tests.fuzz.running import Parser

PARSERS = {
    parser.name: parser
    for parser in (
        Parser("pictures", asked.make_picture, asked.read_picture),
        Parser("prompts", asked.make_asked, asked.read_asked),
        Parser("drafter-options", asked.make_spec, asked.read_spec),
        Parser("settings", asked.make_settings, asked.read_settings),
        Parser("own-rows", files.make_rows, files.read_rows),
        Parser("recipes", files.make_recipe, files.read_recipes),
        Parser("drafter-folders", files.make_folder, files.read_folder),
        Parser("model-folders", files.make_config, files.read_config),
        Parser("generations", files.make_generation, files.read_generation),
        Parser("records", files.make_record, files.read_whole_record),
    )
}
