using System;
using System.Collections.Generic;
using System.Text.Json;

namespace Chasen
{
    /// <summary>The process's environment as functions see it; nothing is a variable's value as little as no text is.</summary>
    internal static class Variables
    {
        private static readonly string[] OfActivations =
        {
            "namespace", "action_name", "action_version", "activation_id", "transaction_id", "deadline", "api_key",
        };

        /// <summary>Sets what an initialisation brings: texts as they are, everything else as its JSON text.</summary>
        internal static void Set(JsonElement variables)
        {
            foreach (JsonProperty variable in variables.EnumerateObject())
            {
                try
                {
                    Set(variable.Name, Text.Of(variable.Value));
                }
                catch (Exception error) when (Text.IsUnreadable(error))
                {
                    // Half a character.
                }
            }
        }

        /// <summary>
        /// Makes <c>__OW_*</c> say what this run says. Others that run meanwhile find a name there that was there before.
        /// </summary>
        internal static void Refresh(JsonElement message)
        {
            foreach (string name in OfActivations)
            {
                if (!message.TryGetProperty(name, out JsonElement value) || value.ValueKind != JsonValueKind.String)
                {
                    Set(NameOf(name), null);
                }
            }
            foreach (JsonProperty property in message.EnumerateObject())
            {
                if (property.Value.ValueKind == JsonValueKind.String && property.Name != "value")
                {
                    Set(NameOf(property.Name), property.Value.GetString());
                }
            }
        }

        internal static void Set(string name, string value)
        {
            try
            {
                Environment.SetEnvironmentVariable(name, value);
            }
            catch (ArgumentException)
            {
                // A name or value that no environment can hold.
            }
        }

        private static string NameOf(string property) => "__OW_" + property.ToUpperInvariant();
    }
}
