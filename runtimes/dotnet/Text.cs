using System;
using System.Globalization;
using System.IO;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace Chasen
{
    /// <summary>
    /// JSON text, to and from the trees that functions know. What the platform says around it is read with the framework's
    /// own reader: it is compiled already, and needs no library before a function's code has chosen one.
    /// </summary>
    internal static class Text
    {
        /// <summary>Deepest nesting that is read; trees are walked on the stack.</summary>
        private const int MaxDepth = 1000;

        private static readonly JsonDocumentOptions Reading = new JsonDocumentOptions { MaxDepth = MaxDepth + 1 };

        private static readonly JsonWriterOptions Compact =
            new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

        /// <summary>The one value of a text.</summary>
        internal static JsonElement Parse(byte[] text) => JsonDocument.Parse(text, Reading).RootElement;

        /// <summary>What reading throws where a text is no JSON, and later where a name or a text in it is no Unicode.</summary>
        internal static bool IsUnreadable(Exception error) =>
            error is System.Text.Json.JsonException || error is InvalidOperationException;

        /// <summary>Texts as they are, null as nothing, everything else as compact JSON.</summary>
        internal static string Of(JsonElement value)
        {
            switch (value.ValueKind)
            {
                case JsonValueKind.String:
                    return value.GetString();
                case JsonValueKind.Null:
                    return "";
                default:
                    var bytes = new MemoryStream();
                    using (var writer = new Utf8JsonWriter(bytes, Compact))
                    {
                        value.WriteTo(writer);
                    }
                    return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
            }
        }

        /// <summary>A value as functions take it. Texts that look like dates stay texts.</summary>
        internal static JToken Tree(JsonElement value)
        {
            using (var reader = new JsonTextReader(new StringReader(value.GetRawText())))
            {
                reader.DateParseHandling = DateParseHandling.None;
                reader.MaxDepth = MaxDepth;
                return JToken.ReadFrom(reader);
            }
        }

        /// <summary>What a function gives, as text.</summary>
        internal static string Of(JToken tree)
        {
            var text = new StringWriter(CultureInfo.InvariantCulture);
            using (var writer = new JsonTextWriter(text))
            {
                tree.WriteTo(writer);
            }
            return text.ToString();
        }

        /// <summary>The payload of a DeveloperError.</summary>
        internal static string OfError(string text)
        {
            var bytes = new MemoryStream();
            // The writer takes no halves of characters, which messages of functions may have.
            byte[] whole = Encoding.UTF8.GetBytes(text);
            using (var writer = new Utf8JsonWriter(bytes, Compact))
            {
                writer.WriteStartObject();
                writer.WriteString("error", whole);
                writer.WriteEndObject();
            }
            return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
        }
    }
}
